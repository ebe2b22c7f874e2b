// One import: its counts until it is over, then the page once more for its list of refused rows.

import { number } from "./facts.js";
import { poll } from "./polling.js";

const page = document.getElementById("import");
let over = false; // the page has no script for an import that is over

poll({
  next: () => (over ? null : { url: page.dataset.progressUrl, everyMs: 1000 }),
  got: (progress) => {
    for (const element of page.querySelectorAll("[data-count]")) {
      element.textContent = number(progress.counts[element.dataset.count]);
    }
    page.querySelector("progress").value = progress.percent;
    over = ["completed", "failed"].includes(progress.status);
    if (over) window.location.reload();
  },
});
