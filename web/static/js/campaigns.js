// The list of campaigns: every row live, by one request.

import { poll } from "./polling.js";
import { show } from "./showing.js";

const list = document.getElementById("campaigns");
const rows = new Map([...list.querySelectorAll("[data-campaign]")].map((row) => [row.dataset.campaign, row]));
const latest = new Map();
const url = `${list.dataset.progressUrl}?ids=${[...rows.keys()].join(",")}`;
const MOVING = ["preparing", "running"];
// Even if nothing moves, a scheduled or paused campaign may begin to, and deliveries still come in.
const QUIET_MS = 15000;
const LIVE_MS = 2000;

function somethingMoves() {
  return [...rows.values()].some((row) => MOVING.includes(row.dataset.state));
}

poll({
  next: () => ({ url, everyMs: somethingMoves() ? LIVE_MS : QUIET_MS }),
  got: (answer) => {
    for (const progress of answer.items) latest.set(String(progress.campaign_id), progress);
  },
  tick: () => {
    for (const [id, progress] of latest) {
      const row = rows.get(id);
      if (!row) continue;
      const before = row.dataset.state;
      const shown = show(row, progress);
      row.dataset.state = progress.status;
      if (before !== progress.status) {
        document.getElementById("announcer").textContent = `${shown.name}: ${shown.status}.`;
      }
    }
  },
});
