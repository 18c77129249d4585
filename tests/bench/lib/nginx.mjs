// nginx with Lua, for comparison: Debian's packages, fetched and unpacked below build/bench and never installed, for
// their LuaJIT and ours exclude each other.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { answers, freePort, ROOT, until } from "./ground.mjs";
import { run } from "./load.mjs";

const HOME = path.join(ROOT, "build/bench/nginx");
const PACKAGES = ["nginx", "libnginx-mod-http-lua", "libnginx-mod-http-ndk", "libluajit2-5.1-2", "lua-resty-core",
  "lua-resty-lrucache"];

async function unpack() {
  if (fs.existsSync(`${HOME}/done`)) return;
  fs.rmSync(HOME, { recursive: true, force: true });
  fs.mkdirSync(`${HOME}/root`, { recursive: true });
  await run("apt-get", ["download", "-q", ...PACKAGES], { cwd: HOME });
  for (const name of fs.readdirSync(HOME).filter((one) => one.endsWith(".deb"))) {
    await run("dpkg-deb", ["-x", path.join(HOME, name), `${HOME}/root`]);
  }
  fs.writeFileSync(`${HOME}/done`, "");
}

// The log line tells what ours tells; the open files are kept, for libh2o keeps them too.
function configuration(dir, port, { cert, key }, staticDir, page) {
  const root = `${HOME}/root`;
  return `
load_module ${root}/usr/lib/nginx/modules/ndk_http_module.so;
load_module ${root}/usr/lib/nginx/modules/ngx_http_lua_module.so;
worker_processes 2;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
daemon off;
events { worker_connections 20000; }
http {
  types { text/plain txt; image/webp webp; application/json json; }
  log_format json escape=json '{"time":"$time_iso8601","level":"info","request_id":"$request_id","method":"$request_method",'
    '"path":"$uri","status":$status,"bytes":$bytes_sent,"s":$request_time,"peer":"$remote_addr","protocol":"$server_protocol"}';
  access_log ${dir}/access.log json;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=1000;
  keepalive_requests 1000000000;
  gzip off;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy; fastcgi_temp_path ${dir}/fastcgi; uwsgi_temp_path ${dir}/uwsgi; scgi_temp_path ${dir}/scgi;
  lua_package_path "${root}/usr/share/lua/5.1/?.lua;;";
  init_worker_by_lua_block {
    local file = io.open("${page}")
    pages = require("resty.lrucache").new(100)
    pages:set("/page", { body = file:read("*a"), etag = '"1"' })
    file:close()
  }
  server {
    listen 127.0.0.1:${port} ssl http2;
    ssl_certificate ${cert};
    ssl_certificate_key ${key};
    ssl_protocols TLSv1.2 TLSv1.3;
    location /static/ { alias ${staticDir}/; }
    location /page {
      content_by_lua_block {
        local page = pages:get(ngx.var.uri)
        ngx.header["content-type"] = "application/json"
        ngx.header["etag"] = page.etag
        ngx.header["x-request-id"] = ngx.var.request_id
        ngx.header["content-length"] = #page.body
        ngx.print(page.body)
      }
    }
  }
}
`;
}

/** One that serves `page` (a file) at /page by Lua and `staticDir` below /static/: { pid, url, stop() }. */
export async function startNginx(dir, tls, staticDir, page) {
  await unpack();
  const port = await freePort();
  fs.writeFileSync(`${dir}/nginx.conf`, configuration(dir, port, tls, staticDir, page));
  const child = spawn(`${HOME}/root/usr/sbin/nginx`, ["-p", dir, "-c", `${dir}/nginx.conf`, "-e", `${dir}/error.log`],
    { stdio: "ignore", env: { ...process.env, LD_LIBRARY_PATH: `${HOME}/root/usr/lib/x86_64-linux-gnu` } });
  const exit = once(child, "exit");
  let ended = false;
  exit.then(() => (ended = true));
  await until("nginx serves", async () => {
    if (ended) throw new Error(`nginx ended; ${dir}/error.log says why:\n${fs.readFileSync(`${dir}/error.log`, "utf8")}`);
    return answers({ port, host: "127.0.0.1" });
  });
  return { pid: child.pid, url: `https://127.0.0.1:${port}`, stop: async () => {
    child.kill("SIGTERM");
    await exit;
  } };
}
