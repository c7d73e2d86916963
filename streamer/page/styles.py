"""How the page looks: two sets of colours, one column on a telephone, as many as fit elsewhere."""

from __future__ import annotations

from typing import Final

from streamer.reports.palette import DARK, LIGHT

ICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M1 11 5 6l4 3 6-7"'
    ' fill="none" stroke="#2f7d6d" stroke-width="2"/></svg>'
)

CSS: Final = (
    f"body {{ {LIGHT} }}\nbody.body--dark {{ {DARK} }}"
    """
body, body.body--dark { background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
.nicegui-content { padding: 0; gap: 0; width: 100%; display: block; }
.page { max-width: 1280px; margin: 0 auto; padding: 0 16px 48px; }
.top { display: flex; align-items: center; justify-content: space-between; gap: 12px;
  padding: 12px 0 4px; }
.top h1 { font-size: 20px; line-height: 1.3; font-weight: 600; margin: 0; }
h2 { font-size: 16px; line-height: 1.4; font-weight: 600; margin: 24px 0 8px; }
.q-tabs { border-bottom: 1px solid var(--line); color: var(--soft); }
.q-tab { min-height: 44px; padding: 0 14px; text-transform: none; }
.q-tab--active { color: var(--accent); }
.q-tab-panels, .q-tab-panel { background: transparent; padding: 0; overflow: visible; }
.nicegui-tab-panel { display: block; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.q-tab:focus-visible { outline-offset: -2px; }
.cards { display: grid; gap: 12px; margin-top: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(46%, 270px), 1fr)); }
.charts, .tables { display: grid; gap: 12px; margin-top: 12px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 14px; min-width: 0; }
.card .name, .soft { color: var(--soft); font-size: 13px; }
.card .value { font-size: 24px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card .nicegui-echart { width: 100%; height: 170px; }
.card .nicegui-echart.bars { height: 260px; }
.nicegui-link, .nicegui-link:visited { color: var(--accent); }
.wrong { color: #b3402e; }
body.body--dark .nicegui-link, .nicegui-link:visited { color: var(--accent); }
.wrong { color: #ff9b8a; }
.soft + .q-btn, .asked + .soft { margin-top: 8px; }
.q-btn + div table.plain { margin-top: 12px; }
.asked { display: flex; flex-wrap: wrap; gap: 12px; align-items: center; margin-top: 16px; }
.asked .q-field { flex: 1 1 200px; max-width: 380px; }
.settings { max-width: 640px; margin-top: 12px; }
.settings textarea { font-family: ui-monospace, monospace; font-size: 13px; }
.scrolled { overflow-x: auto; }
table.plain { border-collapse: collapse; font-size: 14px; }
.card table.plain { width: 100%; }
table.plain caption { text-align: left; font-weight: 600; padding: 0 0 6px; }
table.plain th { text-align: left; font-weight: 500; color: var(--soft); }
table.plain th, table.plain td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line);
  vertical-align: baseline; overflow-wrap: break-word; max-width: 60ch; }
table.linked td { min-width: 11ch; }
table.plain .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
@media (max-width: 599px) {
  table.plain th, table.plain td { padding-right: 8px; font-size: 13px; }
  table.plain .number { white-space: normal; }
}
pre.raw { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: 8px 0;
  padding: 10px; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 40vh; overflow: auto; }
"""
)
