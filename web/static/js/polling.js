// Asks the server again and again: never in a hidden tab, slower while it does not answer, and in words on the page.

const LONGEST_PAUSE_MS = 30000;
const TIMEOUT_MS = 10000;

let clockOffsetMs = 0;

// The server's clock, as far as this page knows it: "in 3 min" is counted from it.
export function serverNow() {
  return Date.now() + clockOffsetMs;
}

// `next()` returns {url, everyMs} or null to rest for good; `got(json)` is called with each answer that is news, and
// `tick()` after each answer, news or not.
export function poll({ next, got, tick = () => {} }) {
  const notice = document.getElementById("connection");
  let timer;
  let asking = false;
  let failures = 0;

  async function ask() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    const request = next();
    if (request === null) return;
    asking = true;
    let pauseMs = request.everyMs;
    try {
      const response = await fetch(request.url, {
        cache: "no-store",
        credentials: "same-origin",
        headers: { Accept: "application/json" },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      noteClock(response);
      if ([401, 403, 404].includes(response.status)) {
        say(response.status === 404
          ? "This is not there any more. Reload the page."
          : "You are signed out. Reload the page to sign in again.");
        return;
      }
      if (response.status !== 304) {
        if (!response.ok) throw new Error(`HTTP ${response.status}`);
        got(await response.json());
      }
      failures = 0;
      say("");
    } catch (error) {
      failures += 1;
      pauseMs = Math.min(LONGEST_PAUSE_MS, request.everyMs * 2 ** failures) * (0.75 + Math.random() / 2);
      say("Connection lost, retrying. The numbers are those of the last answer.");
    } finally {
      asking = false;
    }
    tick();
    timer = setTimeout(ask, pauseMs);
  }

  function say(sentence) {
    // Written only when it changes, so that a screen reader says it once.
    if (notice.textContent !== sentence) notice.textContent = sentence;
  }

  function noteClock(response) {
    const date = Date.parse(response.headers.get("Date"));
    // The header is cut to seconds: smaller differences say nothing.
    if (!Number.isNaN(date)) clockOffsetMs = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
  }

  document.addEventListener("visibilitychange", ask);
  window.addEventListener("online", ask);
  timer = setTimeout(ask, next()?.everyMs ?? 0);
}
