// Puts a campaign's strings and bar into the elements that name them (`data-show`, `data-segment`, `data-at`).

import { describe, segments } from "./facts.js";
import { serverNow } from "./polling.js";

const zone = document.body.dataset.timezone;

// Returns the strings, so that a caller may compare them.
export function show(root, progress) {
  const shown = describe(progress, { zone, now: serverNow() });
  for (const element of root.querySelectorAll("[data-show]")) {
    const text = shown[element.dataset.show];
    if (text !== undefined && element.textContent !== text) element.textContent = text;
  }
  for (const element of root.querySelectorAll("[data-at]")) {
    const at = progress[element.dataset.at];
    if (at) element.dateTime = at;
  }
  for (const badge of root.querySelectorAll("[data-status]")) badge.dataset.status = progress.status;
  for (const bar of root.querySelectorAll("svg[data-bar]")) showBar(bar, progress, shown.bar);
  return shown;
}

function showBar(bar, progress, label) {
  bar.setAttribute("aria-label", label);
  for (const piece of segments(progress.counts, progress.total)) {
    const rect = bar.querySelector(`[data-segment="${piece.state}"]`);
    rect.setAttribute("x", piece.x.toFixed(2));
    rect.setAttribute("width", piece.width.toFixed(2));
  }
}
