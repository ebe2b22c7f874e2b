// One campaign: its numbers each second, and the parts that are lists fetched again when they may have changed.

import { poll } from "./polling.js";
import { show } from "./showing.js";

const page = document.getElementById("campaign");
const announcer = document.getElementById("announcer");
const MOVING = ["preparing", "running"];
const LIVE_MS = 1000;
const QUIET_MS = 5000;
// Why an account waits is not part of the version, so every few answers the page asks for everything.
const FULL_EVERY = 5;
const LISTS_EVERY_MS = 6000;

let version = page.dataset.version;
let status = page.dataset.state;
let latest = null;
let asked = 0;
let listsVersion = version;
let listsAt = Date.now();
let fetchingLists = false;

poll({
  next: () => {
    asked += 1;
    const since = asked % FULL_EVERY && latest ? `?since=${encodeURIComponent(version)}` : "";
    return { url: page.dataset.progressUrl + since, everyMs: MOVING.includes(status) ? LIVE_MS : QUIET_MS };
  },
  got: (progress) => {
    latest = progress;
    version = String(progress.version);
  },
  tick: () => {
    if (!latest) return;
    const shown = show(page, latest);
    document.title = `${shown.done_share} · ${shown.name} · Campaign engine`;
    const moved = latest.status !== status;
    if (moved) {
      status = latest.status;
      page.dataset.state = status;
      announcer.textContent = `The campaign is now ${shown.status.toLowerCase()}. ${shown.activity}`;
    }
    if (moved || (listsVersion !== version && Date.now() - listsAt > LISTS_EVERY_MS)) refreshLists(moved);
  },
});

// The page itself is asked for again, and the parts marked `data-refresh` are taken from it: what the buttons offer,
// the failures, the messages. A part that holds the focus is left alone, except the buttons when the state has moved.
async function refreshLists(stateMoved) {
  if (fetchingLists) return;
  fetchingLists = true;
  const wanted = version;
  try {
    const response = await fetch(window.location.href, { cache: "no-store", credentials: "same-origin" });
    if (!response.ok || response.redirected) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of page.querySelectorAll("[data-refresh]")) {
      const replacement = fresh.getElementById(part.id);
      const focused = part.contains(document.activeElement);
      if (!replacement || (focused && !(stateMoved && part.id === "actions"))) continue;
      part.replaceChildren(...replacement.childNodes);
      if (focused) part.querySelector("button, a")?.focus();
    }
    listsVersion = wanted;
  } catch {
    // The numbers say that the connection is lost; the lists come with the next change.
  } finally {
    listsAt = Date.now();
    fetchingLists = false;
  }
}
