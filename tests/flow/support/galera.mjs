// A Galera cluster of three on loopback, one Redis, and Moontill servers on nodes of one's choice.
//
// Every process dies with the one that started it, killed or not (PDEATHSIG). A node that was killed comes back as
// Debian's service does it: it looks up how far it got, and asks the others only for what came afterwards.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { BINARY, PATIENCE, SURE, Shop, freePort, tempDir, until } from "./shop.mjs";
import { queryAsOwner } from "./db.mjs";

const PROVIDER = "/usr/lib/galera/libgalera_smm.so";
const MINUTE = 60_000;
const IS_ROOT = process.getuid() === 0;
// Debian's servers lie in sbin, which not everybody has in his PATH.
const ENV = { ...process.env, PATH: `${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin` };

function start(dir, name, command, account) {
  const as = IS_ROOT && account ? ["--reuid", account, "--regid", account, "--clear-groups"] : [];
  const log = fs.openSync(path.join(dir, `${name}.log`), "a");
  const child = spawn("setpriv", [...as, "--pdeathsig", "KILL", "--", ...command],
    { stdio: ["ignore", log, log], cwd: dir, env: { ...ENV, TMPDIR: dir } });
  fs.closeSync(log);
  child.on("error", () => {}); // its exit says it
  child.ended = new Promise((resolve) => child.once("close", (code, signal) => resolve((child.result = { code, signal }))));
  return child;
}

const logOf = (dir, name) => fs.readFileSync(path.join(dir, `${name}.log`), "utf8");

async function runToEnd(dir, name, command, account) {
  const { code } = await start(dir, name, command, account).ended;
  if (code !== 0) throw new Error(`${command[0]}: ${code}\n${logOf(dir, name).slice(-4000)}`);
}

async function end(child, signal = "SIGTERM") {
  if (!child || child.result) return;
  child.kill(signal);
  const late = setTimeout(() => child.kill("SIGKILL"), 30_000);
  await child.ended;
  clearTimeout(late);
}

/** One mariadbd of the cluster. For db.mjs it is a shop: `dev` says where the tables are. */
class Node {
  constructor(cluster, number) {
    this.cluster = cluster;
    this.name = `node${number}`;
    this.dir = path.join(cluster.dir, this.name);
    this.data = path.join(this.dir, "data");
    this.dev = { mysql_socket: path.join(this.dir, "mysql.sock"), database: "moontill" };
  }

  async prepare() {
    this.port = await freePort(); // and the next one, for those that it catches up from
    this.sstPort = await freePort();
    for (const dir of [this.dir, this.data]) {
      fs.mkdirSync(dir, { recursive: true });
      if (IS_ROOT) fs.chownSync(dir, ...this.cluster.owner);
    }
  }

  #command(...more) {
    const nodes = this.cluster.nodes.map((n) => `127.0.0.1:${n.port}`).join();
    const options = [`gmcast.listen_addr=tcp://127.0.0.1:${this.port}`, `ist.recv_addr=127.0.0.1:${this.port + 1}`,
      "gcache.size=64M", "socket.ssl=NO", "pc.wait_prim=NO", // one that comes up alone says so, and does not wait
      // a node that is silent is given up after 5 s, on a machine that has other work as well
      "evs.keepalive_period=PT1S", "evs.suspect_timeout=PT3S", "evs.inactive_timeout=PT5S", "evs.install_timeout=PT5S"];
    return ["mariadbd", "--no-defaults", `--datadir=${this.data}`, `--socket=${this.dev.mysql_socket}`, "--skip-name-resolve",
      "--skip-networking", "--skip-log-bin", "--binlog-format=ROW", "--performance-schema=OFF", "--max-connections=200",
      "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M", "--innodb-flush-log-at-trx-commit=1",
      "--innodb-lock-wait-timeout=5", "--innodb-autoinc-lock-mode=2", "--character-set-server=utf8mb4",
      "--default-time-zone=+00:00", "--max-allowed-packet=64M",
      "--wsrep-on=ON", `--wsrep-provider=${PROVIDER}`, `--wsrep-cluster-address=gcomm://${nodes}`,
      "--wsrep-cluster-name=moontill-test", `--wsrep-node-name=${this.name}`, `--wsrep-node-address=127.0.0.1:${this.port}`,
      "--wsrep-sst-method=rsync", `--wsrep-sst-receive-address=127.0.0.1:${this.sstPort}`, "--wsrep-slave-threads=2",
      // who wrote on one node and reads on the next sees what he wrote
      "--wsrep-sync-wait=1", `--wsrep-provider-options=${options.join(";")}`, ...more];
  }

  async begin(...more) {
    this.process = start(this.dir, "mariadbd", this.#command(...more), "mysql");
    await until(`${this.name} is in the cluster`, async () => {
      if (this.process.result) throw new Error(`${this.name} ended:\n${logOf(this.dir, "mariadbd").slice(-4000)}`);
      return (await this.state()) === "Primary Synced";
    }, 2 * MINUTE);
  }

  /** Back into the cluster, after kill or stop. */
  async rejoin() {
    fs.writeFileSync(path.join(this.dir, "recover.log"), "");
    await runToEnd(this.dir, "recover", this.#command("--wsrep-recover"), "mysql");
    const found = logOf(this.dir, "recover").match(/WSREP: Recovered position:\s*(\S+)/);
    await this.begin(...(found ? [`--wsrep-start-position=${found[1]}`] : []));
  }

  kill = () => end(this.process, "SIGKILL");
  stop = () => end(this.process);

  ask = (sql) => queryAsOwner(this, sql);

  /** "Primary Synced", or what it is instead. */
  async state() {
    const rows = await this.ask("SELECT variable_value FROM information_schema.global_status"
      + " WHERE variable_name IN ('wsrep_cluster_status', 'wsrep_local_state_comment') ORDER BY variable_name").catch(() => []);
    return rows.flat().join(" ");
  }

  status = async (name) => Number((await this.ask(`SHOW GLOBAL STATUS LIKE '${name}'`))[0]?.[1]);

  /** Cut off from the others, or not any more: its own processes and its clients notice nothing. */
  isolate = (is = true) => this.ask(`SET GLOBAL wsrep_provider_options = 'gmcast.isolate=${is ? 1 : 0}'`);
}

export class Cluster {
  static async start(size = 3) {
    const cluster = new Cluster();
    cluster.dir = tempDir("galera");
    cluster.servers = [];
    if (IS_ROOT) cluster.owner = await accountOf("mysql");
    cluster.nodes = Array.from({ length: size }, (_, i) => new Node(cluster, i + 1));
    try {
      for (const node of cluster.nodes) await node.prepare();
      await cluster.#begin();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  async #begin() {
    const [first, ...others] = this.nodes;
    await runToEnd(first.dir, "install", ["mariadb-install-db", "--no-defaults", `--datadir=${first.data}`, "--skip-test-db", "--force",
      "--skip-name-resolve", "--auth-root-authentication-method=normal"], "mysql");
    await first.begin("--wsrep-new-cluster", `--init-file=${this.#accounts(first)}`);
    for (const node of others) await node.begin(); // they copy what the first has
    this.redis = start(this.dir, "redis", ["redis-server", "--port", "0", "--unixsocket", path.join(this.dir, "redis.sock"),
      "--save", "", "--appendonly", "no"]);
    [this.cert, this.key] = ["cert.pem", "key.pem"].map((name) => path.join(this.dir, name));
    await runToEnd(this.dir, "openssl", ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
      "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", this.key, "-out", this.cert]);
    await until("Redis is there", () => fs.existsSync(path.join(this.dir, "redis.sock")));
  }

  #accounts(node) {
    const file = path.join(node.dir, "init.sql"), me = os.userInfo().username;
    fs.writeFileSync(file, "CREATE DATABASE moontill CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;\n"
      + "CREATE USER moontill@localhost;\nGRANT ALL ON moontill.* TO moontill@localhost;\n"
      + (me === "root" ? "" : `CREATE USER \`${me}\`@localhost;\nGRANT ALL ON *.* TO \`${me}\`@localhost;\n`), { mode: 0o644 });
    return file;
  }

  /** A Moontill that serves on one node; the first one makes the tables. */
  async serve(node, args = []) {
    const server = await Server.start(this, node, args);
    this.servers.push(server);
    return server;
  }

  async stop() {
    for (const server of this.servers) await server.stop();
    await end(this.redis);
    for (const node of [...this.nodes].reverse()) await end(node.process);
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

async function accountOf(name) {
  const line = fs.readFileSync("/etc/passwd", "utf8").split("\n").find((l) => l.startsWith(`${name}:`));
  if (!line) throw new Error(`there is no account ${name}: scripts/deps.sh test`);
  return line.split(":").slice(2, 4).map(Number);
}

/** As the Shop of shop.mjs, but `moontill serve` on a node of a cluster. */
class Server extends Shop {
  static async start(cluster, node, args) {
    const server = new Server();
    server.dir = path.join(cluster.dir, `server${cluster.servers.length + 1}`);
    server.node = node;
    server.port = await freePort();
    fs.mkdirSync(server.dir, { mode: 0o711 });
    server.args = ["--var", server.dir, "--set", `mysql.socket=${node.dev.mysql_socket}`, "--set", "mysql.kill_abandoned=false",
      "--set", `redis.socket=${path.join(cluster.dir, "redis.sock")}`, "--set", "plugins.payment-test.enabled=true",
      "--set", `log.file=${path.join(server.dir, "moontill.log")}`, ...PATIENCE, ...SURE,
      "--set", `server.cert_file=${cluster.cert}`, "--set", `server.key_file=${cluster.key}`,
      "--set", `server.listen=127.0.0.1:${server.port}`, ...args];
    if (cluster.servers.length === 0) for (const command of ["migrate", "setup"]) await server.run(command);
    server.ca = fs.readFileSync(cluster.cert);
    const keys = JSON.parse(fs.readFileSync(path.join(cluster.servers[0]?.dir ?? server.dir, "keys.json"), "utf8"));
    server.dev = { ...node.dev, ...keys, url: `https://127.0.0.1:${server.port}`, ops_url: `http://127.0.0.1:${server.port + 1}` };
    server.process = spawn(BINARY, ["serve", ...server.args], { stdio: ["ignore", "pipe", "pipe"] });
    server.exited = once(server.process, "exit").then(([code, signal]) => (server.exit = { code, signal }));
    server.log = "";
    for (const stream of [server.process.stdout, server.process.stderr]) stream.on("data", (piece) => (server.log += piece));
    await until(`Moontill serves on ${node.name}`, () => server.log.includes("ready ") || server.exit, 2 * MINUTE);
    if (server.exit) throw new Error(`Moontill on ${node.name}:\n${server.log}`);
    return server;
  }

  async run(...command) {
    const child = spawn(BINARY, [...command, ...this.args], { stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => (text += piece));
    const [code] = await once(child, "close");
    if (code !== 0) throw new Error(`moontill ${command.join(" ")}: ${code}\n${text}`);
  }

  async stop() {
    this.session?.destroy();
    if (!this.process || this.exit) return;
    this.process.kill("SIGTERM");
    await until("Moontill stops", () => this.exit, 30_000).catch(() => this.process.kill("SIGKILL"));
    await this.exited;
  }
}
