// A campaign's progress as the strings a page shows: the twin of web/pages/facts.py, which a browser test compares
// with this. `progress` is the JSON of the API; `now` is milliseconds since the epoch.

const NONE = "–";
const SEGMENTS = ["read", "delivered", "sent", "failed", "unknown", "skipped", "sending"];
const BAR_WIDTH = 1000;
const LEAST_WIDTH = 4;

const WAIT = {
  schedule: "starts by itself", paused: "paused", outside_hours: "outside hours", pacing: "pacing",
  campaign_delay: "delay of the campaign", account_limit: "limit of the account", user_limit: "user limit",
  warm_up: "warm-up limit", daily_recipients: "limit of recipients in 24 hours", cool_down: "cooling down",
  retry_backoff: "backoff before retries", provider_unreachable: "provider unreachable", limiter_away: "limiter away",
  other_accounts: "other accounts send what is left", turn_over: "other campaigns", account_inactive: "not active",
};

export function number(value) {
  return Math.round(value).toLocaleString("en-US");
}

export function share(part, whole) {
  if (whole <= 0) return NONE;
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.1) return "<0.1%";
  if (percent > 99.9 && percent < 100) return ">99.9%";
  return (Math.floor(10 * percent + 0.5) / 10).toFixed(1).replace(/\.0$/, "") + "%";
}

const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];

export function duration(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  for (const [unitS, unit, nextS, nextUnit] of UNITS) {
    if (left < unitS) continue;
    const rest = Math.floor((left % unitS) / nextS);
    const worthSaying = rest && !(unit === "min" && left >= 600);
    return `${Math.floor(left / unitS)} ${unit}` + (worthSaying ? ` ${rest} ${nextUnit}` : "");
  }
  return `${left} s`;
}

const formats = new Map();

function wallClock(at, zone) {
  if (!formats.has(zone)) {
    // American names of the months: the British ones have "Sept".
    formats.set(zone, new Intl.DateTimeFormat("en-US", {
      timeZone: zone, hourCycle: "h23", weekday: "short", day: "numeric", month: "short", year: "numeric",
      hour: "2-digit", minute: "2-digit", second: "2-digit",
    }));
  }
  return Object.fromEntries(formats.get(zone).formatToParts(at).map((part) => [part.type, part.value]));
}

export function clock(at, zone, now, precise = false) {
  const local = wallClock(at, zone);
  const today = wallClock(now, zone);
  const time = `${local.hour}:${local.minute}` + (precise ? `:${local.second}` : "");
  if (["day", "month", "year"].every((part) => local[part] === today[part])) return time;
  const year = local.year === today.year ? "" : ` ${local.year}`;
  return `${local.weekday} ${local.day} ${local.month}${year}, ${time}`;
}

export function segments(counts, total) {
  if (total <= 0) return SEGMENTS.map((state) => ({ state, x: 0, width: 0 }));
  const widths = SEGMENTS.map((state) =>
    counts[state] ? Math.max(LEAST_WIDTH, (BAR_WIDTH * counts[state]) / total) : 0);
  const tooWide = Math.max(1, widths.reduce((sum, width) => sum + width, 0) / BAR_WIDTH);
  let x = 0;
  return SEGMENTS.map((state, at) => {
    const piece = { state, x, width: widths[at] / tooWide };
    x += piece.width;
    return piece;
  });
}

export function describe(progress, { zone, now }) {
  const { counts, funnel, total } = progress;
  const done = total - counts.pending - counts.sending;
  const shown = {
    name: progress.name,
    status: capitalised(progress.status),
    total: number(total),
    done: number(done),
    done_share: share(done, total),
    rate: progress.rate_per_minute.toLocaleString("en-US", { maximumFractionDigits: 1 }),
    success: progress.success_rate === null ? NONE : share(progress.success_rate, 1),
    end: end(progress, zone, now),
    activity: activity(progress, zone, now),
    bar: barLabel(counts, total),
  };
  for (const [state, count] of Object.entries(counts)) {
    shown[`count.${state}`] = number(count);
    shown[`share.${state}`] = share(count, total);
  }
  let previous = total;
  for (const step of ["sent", "delivered", "read"]) {
    shown[`funnel.${step}`] = number(funnel[step]);
    shown[`funnel.${step}.of_total`] = share(funnel[step], total);
    shown[`funnel.${step}.of_previous`] = share(funnel[step], previous);
    previous = funnel[step];
  }
  for (const name of ["started_at", "finished_at"]) {
    shown[name] = progress[name] ? clock(Date.parse(progress[name]), zone, now) : NONE;
  }
  for (const account of progress.accounts) {
    shown[`account.${account.id}`] = accountNow(account, progress, zone, now);
  }
  return shown;
}

function capitalised(word) {
  return word[0].toUpperCase() + word.slice(1);
}

function end(progress, zone, now) {
  if (progress.finished_at) return clock(Date.parse(progress.finished_at), zone, now);
  if (!progress.eta) return NONE;
  const at = Date.parse(progress.eta);
  if (at - now <= 1000) return "now";
  return `in ${duration((at - now) / 1000)}, at ${clock(at, zone, now)}`;
}

function activity(progress, zone, now) {
  const { status, status_reason: reason, counts } = progress;
  const left = counts.pending + counts.sending;
  if (status === "draft") return reason ? `Not started: ${reason}.` : "Not started.";
  if (status === "scheduled") {
    const at = clock(Date.parse(progress.scheduled_at), zone, now);
    return reason ? `Due since ${at}; it cannot start: ${reason}.` : `Starts by itself at ${at}.`;
  }
  if (status === "preparing") return "Its messages are being written.";
  if (status === "paused") return paused(reason);
  if (status === "completed") return "Nothing is left to send.";
  if (status === "cancelled") return `Cancelled; ${number(left)} never sent.`;
  if (status === "failed") return `It could not be prepared: ${reason || "no reason is known"}.`;
  let wait = waitOf(null, progress, now);
  if (!wait) {
    const waits = progress.accounts.map((account) => waitOf(account, progress, now)).filter(Boolean);
    const active = progress.accounts.filter((account) => account.status === "active");
    if (!active.length) return "Waiting: none of its accounts is active.";
    if (waits.length < active.length) return "Sending.";
    const until = (own) => (own.until ? Date.parse(own.until) : Infinity);
    wait = waits.reduce((first, own) => (until(own) < until(first) ? own : first));
  }
  return `Waiting: ${waitText(wait, zone, now)}.`;
}

function paused(reason) {
  if (!reason) return "Paused.";
  return reason.startsWith("paused ") ? `P${reason.slice(1)}.` : `Paused: ${reason.replace(/\.$/, "")}.`;
}

function accountNow(account, progress, zone, now) {
  if (account.status !== "active") {
    const label = capitalised(account.status);
    return account.status_reason ? `${label}: ${account.status_reason}` : label;
  }
  const wait = waitOf(account, progress, now);
  if (wait) return `Active; waiting: ${waitText(wait, zone, now)}`;
  const left = progress.counts.pending + progress.counts.sending;
  const sends = progress.status === "running" && left > 0 && !waitOf(null, progress, now);
  return sends ? "Active; sending" : "Active";
}

function barLabel(counts, total) {
  const parts = [...SEGMENTS, "pending"].filter((state) => counts[state])
    .map((state) => `${number(counts[state])} ${state}`);
  return parts.length ? `Of ${number(total)} messages: ${parts.join(", ")}.` : "No messages yet.";
}

function waitOf(account, progress, now) {
  const id = account ? account.id : null;
  return progress.waiting.find((wait) => wait.account_id === id && (!wait.until || Date.parse(wait.until) > now));
}

function waitText(wait, zone, now) {
  const reason = WAIT[wait.reason] ?? wait.reason.replaceAll("_", " ");
  if (!wait.until) return reason;
  const until = Date.parse(wait.until);
  return `${reason}, until ${clock(until, zone, now, true)} (${duration((until - now) / 1000)})`;
}
