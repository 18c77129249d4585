-- till/http/style - the one style sheet of the pages that the server draws itself.
return [[
:root { color-scheme: light dark; --ink: #1d2327; --soft: #5c6770; --line: #dfe3e6;
  --paper: #fbfaf7; --card: #fff; --accent: #0b6e4f; --warn: #9a3412; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaec; --soft: #9aa5ad; --line: #333a40;
  --paper: #15181a; --card: #1d2124; --accent: #5cc8a0; --warn: #fb923c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main, header, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: baseline;
  padding-top: 1.5rem; padding-bottom: 1rem; border-bottom: 1px solid var(--line); }
header .name { font-size: 1.35rem; font-weight: 650; color: var(--ink); text-decoration: none; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
footer { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 1rem;
  padding-bottom: 2rem; color: var(--soft); font-size: .9rem; }
a { color: var(--accent); text-underline-offset: .15em; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.75rem 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
form.search { display: flex; gap: .5rem; margin: 1.25rem 0; }
input[type=search] { flex: 1; min-width: 8rem; font: inherit; padding: .55rem .8rem;
  border: 1px solid var(--line); border-radius: .5rem; background: var(--card); color: var(--ink); }
button { font: inherit; padding: .55rem 1rem; border: 0; border-radius: .5rem;
  background: var(--accent); color: var(--paper); cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(11.5rem, 1fr));
  gap: 1rem; padding: 0; margin: 1rem 0; list-style: none; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  overflow: hidden; display: flex; flex-direction: column; }
.card img, .card .blank { width: 100%; aspect-ratio: 4 / 3; object-fit: cover; display: block;
  background: var(--line); }
.card div.text { padding: .7rem .85rem .9rem; }
.card .title { font-weight: 550; line-height: 1.3; overflow-wrap: anywhere; }
.card .price { color: var(--accent); font-variant-numeric: tabular-nums; margin-top: .3rem; }
.soft { color: var(--soft); } .warn { color: var(--warn); }
.chips { display: flex; flex-wrap: wrap; gap: .4rem; padding: 0; list-style: none; }
.chips a { display: inline-block; padding: .15rem .7rem; border: 1px solid var(--line);
  border-radius: 1rem; background: var(--card); text-decoration: none; font-size: .92rem; }
code, pre { font: .88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .75rem 1rem; overflow-x: auto; }
details { border: 1px solid var(--line); border-radius: .6rem; background: var(--card);
  margin: .5rem 0; }
summary { padding: .55rem .9rem; cursor: pointer; display: flex; flex-wrap: wrap; gap: .2rem .7rem;
  align-items: baseline; }
details > div { padding: 0 .9rem .8rem; }
.method { font: 650 .78rem ui-monospace, monospace; color: var(--accent); min-width: 3.6rem; }
.path { font: .9rem ui-monospace, monospace; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); }
tr:target { background: color-mix(in srgb, var(--accent) 18%, transparent); }
[hidden] { display: none !important; }
]]
