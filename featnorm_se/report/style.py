"""The page's style sheet: system fonts, light and dark, from a phone's width up."""

CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #f2f4f7;
  --line: #c9d0d9; --quiet: #555f6b; --link: #0058a3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #14171b;
  --soft: #1f242a; --line: #3a434d; --quiet: #a8b2bd; --link: #7fbdf5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); }
h1, h2, h3, h4 { line-height: 1.25; }
h2 { margin-top: 2.5rem; padding-top: .6rem; border-top: 1px solid var(--line); }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; padding: .5rem; background: var(--soft); }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; }
.quiet, figcaption, .caption { color: var(--quiet); font-size: .9rem; }
.caption { margin: 1rem 0 .2rem; }
.wide { overflow-x: auto; margin: 0 0 1rem; }
.wide:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; overflow-wrap: normal;
  font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { padding: .3rem .45rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { background: var(--soft); }
th.word, td.word { text-align: left; }
tbody th { font-weight: 600; text-align: left; background: var(--paper); white-space: normal;
  min-width: 7rem; }
th:first-child { position: sticky; left: 0; }
.figures, .clips { display: grid; gap: 1.2rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 29rem), 1fr)); }
.clips { grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
figure { margin: 0; min-width: 0; }
svg, img { display: block; width: 100%; height: auto; max-width: 46rem; }
.clip { padding: .7rem; border: 1px solid var(--line); border-radius: .4rem; min-width: 0; }
.clip h4 { margin: 0; font-size: 1rem; }
.clip p { margin: .1rem 0 .4rem; font-size: .9rem; }
audio { width: 100%; height: 2.5rem; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .2rem 1rem;
  font-size: .9rem; }
dt { color: var(--quiet); }
dd { margin: 0; }
summary { cursor: pointer; padding: .3rem 0; font-weight: 600; }
code { font-size: .9em; }
"""
