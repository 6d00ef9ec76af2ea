// Asks the door for its state, listens to its events, and shows both. What strangers have sent is only ever text:
// nothing here makes elements of what was answered.
"use strict";

const POLL_MS = 2000;
const SECOND_MS = 500;
/** An answer that takes longer is none. */
const ANSWER_MS = 5000;
/** What "in the last minute" looks back. */
const WINDOW_SECONDS = 60;
const SPARK_POINTS = 60;
/** As many as the server keeps. */
const REFUSALS_MAX = 256;
const NOTICES_MAX = 3;
/** The bytes of a refused peer that the server keeps. */
const BYTES_MAX = 128;
/** Reasons with which a client is refused. */
const REFUSED = ["untrusted", "header_absent", "header_invalid", "header_truncated", "header_timeout", "header_too_long",
  "overload", "resources"];

const $ = (id) => document.getElementById(id);

// Words for numbers

const whole = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

const count = (number) => whole.format(number);

const small = (number) => (number > 0 && number < 10 ? tenths : whole).format(number < 10 ? number : Math.round(number));

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? whole.format(Math.round(number)) : small(number)} ${units[unit]}`;
}

function span(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = parts.findIndex(([, unit]) => seconds >= unit);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).map(([name, unit], index) => {
    const left = index === 0 ? seconds : seconds % parts[first][1];
    return [Math.floor(left / unit), name];
  }).filter(([number]) => number > 0).map((part) => part.join(" ")).join(" ");
}

function latency(seconds) {
  if (seconds === undefined) return "–";
  if (seconds === null) return "> 10 s";
  return `≤ ${seconds < 1 ? `${whole.format(seconds * 1000)} ms` : `${whole.format(seconds)} s`}`;
}

const timeOfDay = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dayOfYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** The time of day, with the date where it is another day. */
function clock(time) {
  const date = new Date(time);
  const text = timeOfDay.format(date);
  return date.toDateString() === today() ? text : `${dayOfYear.format(date)} ${text}`;
}

const today = () => new Date().toDateString();

const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// Elements: only what is otherwise than before is touched

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, key, value) {
  if (node.dataset[key] !== value) node.dataset[key] = value;
}

/** Brings the children of `parent` into the order of `items`, one element a key. */
function keyed(parent, items, key, make, update) {
  const known = parent.byKey ??= new Map();
  const kept = new Set(items.map(key));
  // First what is gone, so that the rest stands where it stood.
  for (const [name, node] of known) {
    if (!kept.has(name)) {
      node.remove();
      known.delete(name);
    }
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const node = known.get(key(item)) ?? make(item);
    known.set(key(item), node);
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
}

// Tables, which can be sorted and filtered

/** A column has `label`, `value` of an item (sorted by), and may have `text`, `level`, `classes`. */
class Table {
  constructor(section, columns, key, order) {
    this.counted = section.querySelector(".count");
    this.table = section.querySelector("table");
    this.columns = columns;
    this.key = key;
    this.order = order;
    this.items = [];
    const heads = columns.map((column) => {
      const button = element("button", { type: "button" }, column.label);
      const head = element("th", { scope: "col", role: "columnheader", class: column.classes ?? "" }, button);
      button.addEventListener("click", () => this.sort(column, head));
      return head;
    });
    this.body = element("tbody", { role: "rowgroup" });
    const row = element("tr", { role: "row" }, ...heads);
    this.table.append(element("thead", { role: "rowgroup" }, row), this.body);
  }

  /** By this column: numbers from the largest, texts from A; again the other way round. */
  sort(column, head) {
    const isAgain = this.column === column;
    const isNumber = column.classes?.includes("num") ?? false;
    this.isDown = isAgain ? !this.isDown : isNumber;
    this.column = column;
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", this.isDown ? "descending" : "ascending");
    this.show(this.items);
  }

  show(items) {
    this.items = items;
    const column = this.column;
    const sorted = [...items].sort((a, b) => {
      const chosen = column ? compare(column.value(a), column.value(b)) : 0;
      return (this.isDown ? -chosen : chosen) || this.order(a, b);
    });
    keyed(this.body, sorted, this.key, () => this.row(), (row, item) => this.update(row, item));
    this.filter();
  }

  row() {
    const cells = this.columns.map((column, index) => element(index === 0 ? "th" : "td", {
      ...(index === 0 ? { scope: "row", role: "rowheader" } : { role: "cell" }),
      class: column.classes ?? "",
      "data-label": column.label,
    }));
    return element("tr", { role: "row" }, ...cells);
  }

  /** Items are flat: one that says the same as before costs no look at its cells. */
  update(row, item) {
    if (row.item && Object.keys(item).every((field) => row.item[field] === item[field])) return;
    row.item = item;
    const texts = this.columns.map((column) => String((column.text ?? column.value)(item)));
    this.columns.forEach((column, index) => {
      const cell = row.children[index];
      say(cell, texts[index]);
      if (column.level) mark(cell, "level", column.level(item));
    });
    row.words = texts.filter((_, index) => !this.columns[index].classes?.includes("num")).join(" ").toLowerCase();
  }

  filter() {
    let shown = 0;
    for (const row of this.body.children) {
      const isShown = row.words.includes(wanted);
      if (row.hidden === isShown) row.hidden = !isShown;
      shown += isShown ? 1 : 0;
    }
    const all = this.body.children.length;
    if (this.counted) say(this.counted, shown === all ? count(all) : `${count(shown)} of ${count(all)}`);
  }
}

const collator = new Intl.Collator("en", { numeric: true });
const compare = (a, b) => (typeof a === "string" ? collator.compare(a, b) : a - b);

const STATES = { up: ["● up", "good"], down: ["▼ down", "bad"], ejected: ["◆ ejected", "bad"], draining: ["◐ draining", "warn"] };
const SEVERITY = { down: 0, ejected: 1, draining: 2, up: 3 };
const troubled = (number) => (number > 0 ? "warn" : "none");

const listeners = new Table($("listeners"), [
  { label: "Listener", value: (one) => one.name },
  { label: "Bind", value: (one) => one.bind, classes: "mono wide" },
  { label: "Pool", value: (one) => one.upstream || "–" },
  { label: "Active", value: (one) => one.active, text: (one) => count(one.active), classes: "num" },
  { label: "Accepted/s", value: (one) => one.rate, text: (one) => small(one.rate), classes: "num" },
  { label: "Up/s", value: (one) => one.up, text: (one) => bytes(one.up), classes: "num" },
  { label: "Down/s", value: (one) => one.down, text: (one) => bytes(one.down), classes: "num" },
  { label: "Accepted", value: (one) => one.accepted, text: (one) => count(one.accepted), classes: "num" },
  { label: "Refused", value: (one) => one.refused, text: (one) => count(one.refused), classes: "num", level: (one) => troubled(one.refused) },
], (one) => one.name, (a, b) => compare(a.name, b.name));

const pools = new Table($("pools"), [
  { label: "Pool", value: (one) => one.name },
  {
    label: "Up", value: (one) => one.up / one.of, text: (one) => `${one.up} of ${one.of}`, classes: "num",
    level: (one) => (one.up === 0 ? "bad" : one.up < one.of ? "warn" : "good"),
  },
  { label: "Active", value: (one) => one.active, text: (one) => count(one.active), classes: "num" },
  { label: "Connects/s", value: (one) => one.rate, text: (one) => small(one.rate), classes: "num" },
  { label: "Failed, 1 min", value: (one) => one.failed, text: (one) => count(one.failed), classes: "num", level: (one) => troubled(one.failed) },
  { label: "Connect p50", value: (one) => one.p50 ?? -1, text: (one) => latency(one.p50), classes: "num" },
  { label: "Connect p99", value: (one) => one.p99 ?? -1, text: (one) => latency(one.p99), classes: "num" },
], (one) => one.name, (a, b) => compare(a.name, b.name));

const endpoints = new Table($("endpoints"), [
  { label: "Endpoint", value: (one) => one.address, text: (one) => (one.name ? `${one.address} (${one.name})` : one.address), classes: "mono" },
  { label: "Pool", value: (one) => one.pool },
  {
    label: "State", value: (one) => SEVERITY[one.state] ?? -1,
    text: (one) => (STATES[one.state]?.[0] ?? one.state) + (one.is_set ? ", set by hand" : ""),
    level: (one) => STATES[one.state]?.[1] ?? "warn",
  },
  { label: "Since", value: (one) => one.since, text: (one) => clock(one.since) },
  { label: "Why", value: (one) => one.why ?? "", classes: "wide" },
  { label: "Active", value: (one) => one.active, text: (one) => count(one.active), classes: "num" },
  { label: "Connects", value: (one) => one.connects, text: (one) => count(one.connects), classes: "num" },
  { label: "Failed", value: (one) => one.failures, text: (one) => count(one.failures), classes: "num" },
  { label: "Failed, 1 min", value: (one) => one.failed, text: (one) => count(one.failed), classes: "num", level: (one) => troubled(one.failed) },
], (one) => `${one.pool} ${one.address}`, (a, b) => compare(SEVERITY[a.state], SEVERITY[b.state])
  || b.failed - a.failed || compare(a.pool, b.pool) || compare(a.address, b.address));

const closed = new Table($("closed"), [
  { label: "Reason", value: (one) => one.reason, classes: "mono" },
  { label: "1 min", value: (one) => one.lately, text: (one) => count(one.lately), classes: "num" },
  { label: "All", value: (one) => one.all, text: (one) => count(one.all), classes: "num" },
], (one) => one.reason, (a, b) => b.all - a.all || compare(a.reason, b.reason));

// Tiles, each with the last two minutes drawn

const SVG = "http://www.w3.org/2000/svg";

class Tile {
  constructor(label) {
    this.value = element("div", { class: "value" }, "–");
    this.more = element("div", { class: "more" });
    this.area = document.createElementNS(SVG, "polygon");
    this.line = document.createElementNS(SVG, "polyline");
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("viewBox", `0 0 ${SPARK_POINTS - 1} 20`);
    drawing.setAttribute("preserveAspectRatio", "none");
    drawing.setAttribute("aria-hidden", "true");
    drawing.append(this.area, this.line);
    this.points = [];
    const texts = element("dd", {}, this.value, this.more);
    $("tiles").append(element("div", { class: "tile" }, element("dt", {}, label), texts, drawing));
  }

  show(value, more, point) {
    say(this.value, value);
    say(this.more, more);
    this.points = [...this.points, point].slice(-SPARK_POINTS);
    const top = Math.max(...this.points, 1e-9);
    const from = SPARK_POINTS - this.points.length;
    const line = this.points.map((one, index) => `${from + index},${(19 - 17 * one / top).toFixed(2)}`).join(" ");
    this.line.setAttribute("points", line);
    this.area.setAttribute("points", `${from},20 ${line} ${SPARK_POINTS - 1},20`);
  }
}

const tiles = {
  active: new Tile("Connections"),
  accepted: new Tile("Accepted a second"),
  refused: new Tile("Refused, last minute"),
  up: new Tile("Up, to upstreams"),
  down: new Tile("Down, to clients"),
  connect: new Tile("Connect, last minute"),
};

// What is known

/** What was answered in the last minute, by time, without the listeners; and the last answer, with them. */
let samples = [];
let previous = null;
let refusals = [];
let notices = [];
let wanted = "";
/** When the last answer came; and since when there is none. */
let heard = null;
let silent = null;

const sum = (items, of) => items.reduce((total, item) => total + of(item), 0);
const refusedOf = (byReason) => sum(REFUSED, (reason) => byReason[reason] ?? 0);

/** Histograms have one bucket for what is longer than all: its bound is null. */
function quantile(buckets, share) {
  const rank = sum(buckets, (bucket) => bucket.count) * share;
  if (rank === 0) return undefined;
  let below = 0;
  return buckets.find((bucket) => (below += bucket.count) >= rank)?.seconds_max;
}

function since(now, before) {
  const earlier = new Map((before ?? []).map((bucket) => [bucket.seconds_max, bucket.count]));
  return now.map(({ seconds_max, count }) => ({ seconds_max, count: count - (earlier.get(seconds_max) ?? 0) }));
}

function together(histograms) {
  const counts = new Map();
  for (const { seconds_max, count } of histograms.flat()) counts.set(seconds_max, (counts.get(seconds_max) ?? 0) + count);
  return [...counts].map(([seconds_max, count]) => ({ seconds_max, count }));
}

function take(status, upstreams, still) {
  // Another process counts from 0.
  if (previous && (previous.status.pid !== status.pid || previous.status.started !== status.started)) {
    samples = [];
    previous = null;
  }
  const { listeners, ...sums } = status;
  const sample = {
    status: sums,
    pools: new Map(upstreams.pools.map((one) => [one.name, one])),
    endpoints: new Map(upstreams.pools.flatMap((pool) => pool.endpoints.map((one) => [`${pool.name} ${one.address}`, one]))),
    still,
  };
  const now = { ...sample, listeners: new Map(listeners.map((one) => [one.name, one])) };
  samples = [...samples, sample].filter((one) => one.status.uptime_seconds >= status.uptime_seconds - WINDOW_SECONDS);
  show(now, previous, samples[0]);
  previous = now;
}

/** Shows what is now: rates against what was `before`, "lately" against the `first` of the window. */
function show({ status, listeners: byName, pools: poolsByName, endpoints: byAddress, still }, before, first) {
  const seconds = before ? Math.max(status.uptime_seconds - before.status.uptime_seconds, 0.001) : Infinity;
  const rate = (now, then) => Math.max(now - (then ?? now), 0) / seconds;
  const lately = (now, then) => Math.max(now - (then ?? 0), 0);
  const refusedLately = lately(refusedOf(status.closed), refusedOf(first.status.closed));
  const histograms = [];
  const poolRows = [...poolsByName.values()].map((pool) => {
    const then = first.pools.get(pool.name);
    const spans = since(pool.connect_buckets, then?.connect_buckets);
    histograms.push(spans);
    const connects = (one) => sum(one?.endpoints ?? [], (endpoint) => endpoint.connects);
    const failures = (one) => sum(one?.endpoints ?? [], (endpoint) => endpoint.failures);
    return {
      name: pool.name,
      up: sum(pool.endpoints, (one) => (one.state === "up" ? 1 : 0)),
      of: pool.endpoints.length,
      active: sum(pool.endpoints, (one) => one.active),
      rate: rate(connects(pool), before && connects(before.pools.get(pool.name))),
      failed: lately(failures(pool), failures(then)),
      tried: lately(connects(pool), connects(then)),
      p50: quantile(spans, 0.5),
      p99: quantile(spans, 0.99),
    };
  });
  const day = today();
  const endpointRows = [...byAddress].map(([key, one]) => ({
    ...one,
    pool: key.slice(0, key.indexOf(" ")),
    failed: lately(one.failures, first.endpoints.get(key)?.failures),
    // At midnight, times get their date.
    day,
  }));
  listeners.show([...byName.values()].map((one) => {
    const then = before?.listeners.get(one.name);
    return {
      name: one.name,
      bind: one.bind.join(" "),
      upstream: one.upstream,
      // Connections, or flows of datagrams.
      active: one.active + one.flows,
      accepted: one.accepted + one.flows_begun,
      rate: rate(one.accepted + one.flows_begun, then && then.accepted + then.flows_begun),
      up: rate(one.bytes_up, then?.bytes_up),
      down: rate(one.bytes_down, then?.bytes_down),
      refused: refusedOf(one.closed),
    };
  }));
  pools.show(poolRows);
  endpoints.show(endpointRows);
  closed.show(Object.entries(status.closed).filter(([, all]) => all > 0).map(([reason, all]) => (
    { reason, all, lately: lately(all, first.status.closed[reason]) })));

  const connects = together(histograms);
  const up = rate(status.bytes_up, before?.status.bytes_up);
  const down = rate(status.bytes_down, before?.status.bytes_down);
  const accepted = rate(status.accepted, before?.status.accepted);
  const [p50, p99] = [quantile(connects, 0.5), quantile(connects, 0.99)];
  tiles.active.show(count(status.active), `of ${count(status.connections_max)} at most`, status.active);
  tiles.accepted.show(small(accepted), `${count(status.accepted)} in all`, accepted);
  tiles.refused.show(count(refusedLately), `${count(refusedOf(status.closed))} in all`, refusedLately);
  tiles.up.show(`${bytes(up)}/s`, `${bytes(status.bytes_up)} in all`, up);
  tiles.down.show(`${bytes(down)}/s`, `${bytes(status.bytes_down)} in all`, down);
  tiles.connect.show(latency(p50), `p50; p99 ${latency(p99)}`, p50 ?? (p50 === null ? 10 : 0));

  attend(judge({ ...status, still }, first.status, poolRows, endpointRows, refusedLately));
  showVerdict();
}

// The verdict

/** What a person has to know first: level, text, and a key under which it stays the same line. */
function judge(status, before, poolRows, endpointRows, refusedLately) {
  const found = [];
  const add = (level, key, text) => found.push({ level, key, text });
  const now = new Date(status.started).getTime() + status.uptime_seconds * 1000;
  for (const line of status.still) add("bad", line.split(" has ")[0], line);
  for (const pool of poolRows) {
    if (pool.up === 0) add("bad", `pool ${pool.name}`, `Pool ${pool.name} has no endpoint that is up.`);
  }
  for (const one of endpointRows.filter((each) => each.state !== "up")) {
    const ago = span(Math.max((now - new Date(one.since).getTime()) / 1000, 0));
    const why = one.why ? `: ${one.why}` : one.is_set ? ": set by hand" : "";
    add(one.state === "draining" ? "warn" : "bad", `endpoint ${one.pool} ${one.address}`,
      `Endpoint ${one.address} of ${one.pool} is ${one.state} since ${clock(one.since)} (${ago})${why}`);
  }
  for (const pool of poolRows.filter((each) => each.failed > 0)) {
    const whose = endpointRows.filter((one) => one.pool === pool.name && one.failed > 0);
    const named = whose.slice(0, 3).map((one) => `${one.address} ${count(one.failed)}`).join(", ");
    const more = whose.length > 3 ? ` and ${count(whose.length - 3)} more` : "";
    add(pool.failed >= pool.tried ? "bad" : "warn", `failed ${pool.name}`,
      `${count(pool.failed)} of ${plural(pool.tried, "connect")} to ${pool.name} failed in the last minute: ${named}${more}`);
  }
  if (refusedLately > 0) {
    const reasons = REFUSED.map((reason) => [reason, (status.closed[reason] ?? 0) - (before.closed[reason] ?? 0)])
      .filter(([, number]) => number > 0).sort((a, b) => b[1] - a[1]);
    const named = reasons.map(([reason, number]) => `${reason} ${count(number)}`).join(", ");
    add("warn", "refused", `${plural(refusedLately, "connection")} refused in the last minute: ${named}`);
  }
  if (status.active >= 0.9 * status.connections_max) {
    add("warn", "full", `${count(status.active)} of ${count(status.connections_max)} connections: beyond that clients are refused.`);
  }
  for (const [key, text] of [
    ["accept_pauses", "Accepting paused for want of descriptors or memory"],
    ["pipes_missing", "Bytes were copied for want of pipes"],
    ["access_lines_dropped", "Lines of the access log were dropped"],
    ["log_lines_dropped", "Lines of the log were dropped"],
  ]) {
    const gained = status[key] - before[key];
    if (gained > 0) add("warn", key, `${text}: ${plural(gained, "time")} in the last minute`);
  }
  return found;
}

const LEVELS = { bad: "Trouble", warn: "Notice", none: "News" };
let attention = [];

function attend(found) {
  attention = found;
  const lines = [...notices, ...found].sort((a, b) => compare(rank(a), rank(b))).slice(0, 12);
  const more = notices.length + found.length - lines.length;
  if (more > 0) lines.push({ level: "warn", key: "more", text: `${count(more)} more, see the tables` });
  keyed($("attention"), lines, (line) => line.key, () => element("li", {}, element("b"), element("span")), (node, line) => {
    mark(node, "level", line.level);
    say(node.children[0], LEVELS[line.level]);
    say(node.children[1], line.text);
  });
}

const rank = (line) => ["bad", "warn", "none"].indexOf(line.level);

function showVerdict() {
  const { status, still = [] } = samples.at(-1) ?? {};
  const worst = attention.reduce((least, line) => Math.min(least, rank(line)), 2);
  let level = "none", glyph = "…", text = "Asking the server";
  if (silent) {
    [level, glyph, text] = ["bad", "✕", `No answer since ${clock(silent)}`];
  } else if (status && still.length > 0) {
    [level, glyph, text] = ["bad", "!", `Standing still: ${plural(still.length, "worker")} of ${count(status.workers)}`];
  } else if (status?.state === "draining") {
    [level, glyph, text] = ["warn", "◐", "Draining: nobody new should come"];
  } else if (status && worst === 0) {
    [level, glyph, text] = ["bad", "!", "Serving, with trouble"];
  } else if (status) {
    [level, glyph, text] = worst === 1 ? ["warn", "✓", "Serving, with notices"] : ["good", "✓", "Serving"];
  }
  mark($("verdict"), "level", level);
  say($("state-glyph"), glyph);
  say($("state-text"), text);
  mark($("link"), "level", silent ? "bad" : status ? "good" : "none");
  say($("link-text"), silent ? "no answer" : status ? "live" : "asking");
  document.body.classList.toggle("stale", silent !== null);
  const title = `${glyph} ${text} · ${location.host}`;
  if (document.title !== title) document.title = title;
  if (!status) return;
  const facts = [
    silent ? `As of ${clock(heard)}` : worst === 2 ? "Nothing needs attention" : null,
    `since ${clock(status.started)} (${span(status.uptime_seconds)})`,
    `version ${status.version} (${status.commit.slice(0, 12)})`,
    `process ${status.pid}`,
    `generation ${status.generation}`,
    plural(status.workers, "worker"),
    status.config ? `configuration ${status.config}` : "configuration from flags",
  ];
  say($("facts"), facts.filter((fact) => fact !== null).join(" · "));
}

// Refusals: those of one peer, for one reason, are one line

function note(more) {
  const known = new Map([...refusals, ...more].map((one) => [identity(one), one]));
  refusals = [...known.values()].sort((a, b) => compare(a.time, b.time)).slice(-REFUSALS_MAX);
  showRefusals();
}

const identity = (one) => `${one.time} ${one.peer} ${one.listener}`;
const host = (address) => address.slice(0, address.lastIndexOf(":"));

function showRefusals() {
  const groups = new Map();
  for (const one of refusals) {
    const key = [one.listener, host(one.peer), one.reason, one.why].join("\n");
    const times = (groups.get(key)?.times ?? 0) + 1;
    // The newest stands for all, at the place of the newest.
    groups.delete(key);
    groups.set(key, { key, times, one });
  }
  const newest = [...groups.values()].reverse();
  keyed($("refusals-list"), newest, (group) => group.key, makeRefusal, updateRefusal);
  $("refusals-empty").hidden = newest.length > 0;
  filterRefusals();
}

function makeRefusal() {
  const part = (classes, name = "span") => element(name, { class: classes });
  const who = element("span", { class: "who" }, part("mono"), part("where"));
  const summary = element("summary", {}, element("time"), who, part("times"), part("why"), part("preview mono"));
  const details = element("details", {}, summary, element("pre", { tabindex: "0", role: "group", "aria-label": "The first bytes that came" }));
  const item = element("li", {}, details);
  // The dump is made when somebody looks at it.
  details.addEventListener("toggle", () => dumped(item));
  if ($("refusals-list").childElementCount === 0) details.open = true;
  return item;
}

function updateRefusal(item, { times, one }) {
  const [time, who, often, why, preview] = item.querySelector("summary").children;
  if (item.one !== one) {
    if (item.one && identity(item.one) !== identity(one)) {
      item.classList.remove("arrived");
      requestAnimationFrame(() => item.classList.add("arrived"));
    }
    item.one = one;
    item.words = [one.listener, one.peer, one.reason, one.error ?? "", one.why].join(" ").toLowerCase();
    if (item.firstElementChild.open) dumped(item);
  }
  time.setAttribute("datetime", one.time);
  time.setAttribute("title", one.time);
  say(time, clock(one.time));
  say(who.children[0], one.peer);
  say(who.children[1], `at ${one.listener}: ${one.reason}`);
  say(often, times > 1 ? `${count(times)} times` : "");
  say(why, one.why);
  say(preview, one.bytes ? printable(octets(one.bytes).slice(0, 64)) : "");
}

function filterRefusals() {
  let shown = 0;
  for (const item of $("refusals-list").children) {
    item.hidden = !item.words.includes(wanted);
    shown += item.hidden ? 0 : 1;
  }
  const all = $("refusals-list").children.length;
  const part = shown === all ? "" : `${count(shown)} of ${count(all)} shown; `;
  say($("refusals-count"), all === 0 ? "" : `${part}the last ${count(refusals.length)}, by peer and reason`);
}

const octets = (hex) => (hex.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
const isGraphic = (octet) => octet >= 0x20 && octet <= 0x7e;
const printable = (list) => list.map((octet) => (isGraphic(octet) ? String.fromCharCode(octet) : ".")).join("");

/** As in the style: a screen in a hand. */
const narrow = matchMedia("(max-width: 45rem)");
narrow.addEventListener("change", () => {
  for (const item of $("refusals-list").children) {
    item.querySelector("pre").of = null;
    dumped(item);
  }
});

/** The bytes as `ppserver decode` shows them, with the one marked at which the header was refused. */
function dumped(item) {
  const { one } = item;
  const pre = item.querySelector("pre");
  if (!one || !item.firstElementChild.open || pre.of === one) return;
  pre.of = one;
  const list = octets(one.bytes);
  const row = narrow.matches ? 8 : 16;
  const parts = [];
  const text = (words) => parts.push(words);
  const byte = (words, index) => parts.push(index === one.offset ? element("mark", {}, words) : words);
  if (list.length === 0) text("no bytes were read");
  const end = one.offset !== null && one.offset <= list.length ? Math.max(list.length, one.offset + 1) : list.length;
  for (let at = 0; at < end; at += row) {
    const bytesOf = list.slice(at, at + row);
    text(`${at.toString(16).padStart(5, "0")}  `);
    for (let column = 0; column < row; column += 1) {
      const octet = bytesOf[column];
      if (column === 8) text(" ");
      byte(octet === undefined ? "  " : octet.toString(16).padStart(2, "0"), at + column);
      text(" ");
    }
    text(" |");
    bytesOf.forEach((octet, column) => byte(printable([octet]), at + column));
    text("|\n");
    if (one.offset !== null && one.offset >= at && one.offset < at + row) {
      const column = one.offset - at;
      text(`${" ".repeat(7 + 3 * column + (column >= 8 ? 1 : 0))}^^ byte ${one.offset}: ${one.error}\n`);
    }
  }
  if (one.offset !== null && one.offset >= end) text(`byte ${one.offset}: ${one.error}, behind the first ${BYTES_MAX}, which are kept\n`);
  pre.replaceChildren(...parts);
}

// The door

async function ask(path, read) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
  // A worker that stands still is 503, and told of in the body.
  if (!answer.ok && answer.status !== 503) throw new Error(`${path} answers ${answer.status}`);
  return answer[read]();
}

let timer = 0;
let isAsking = false;

async function poll() {
  clearTimeout(timer);
  if (isAsking || document.hidden) return;
  isAsking = true;
  // That nobody answers is shown; what goes wrong in the page is not to be mistaken for it.
  const answers = await Promise.all([
    ask("/api/v1/status", "json"), ask("/api/v1/upstreams", "json"), ask("/livez", "text")]).catch(() => null);
  isAsking = false;
  // Rates need two answers: the second comes soon.
  timer = setTimeout(poll, samples.length === 0 ? SECOND_MS : POLL_MS);
  if (!answers) {
    silent ??= heard ?? Date.now();
    showVerdict();
    return;
  }
  const [status, upstreams, lives] = answers;
  heard = Date.now();
  silent = null;
  take(status, upstreams, lives.split("\n").filter((line) => line !== "" && line !== "ok"));
  listen();
}

let events = null;

function listen() {
  if (events || document.hidden) return;
  const opened = events = new EventSource("/api/v1/events");
  // First the events, then what was before them: nothing falls between.
  const catchUp = () => ask("/api/v1/refusals", "json").then((last) => note(last.refusals), hush);
  let isOpen = false;
  opened.addEventListener("open", () => {
    isOpen = true;
    catchUp();
  });
  opened.addEventListener("refusal", (event) => note([JSON.parse(event.data)]));
  opened.addEventListener("lost", catchUp);
  opened.addEventListener("state", () => poll());
  opened.addEventListener("reload", (event) => reloaded(JSON.parse(event.data)));
  opened.addEventListener("error", () => {
    hush();
    // One that never opened is tried again with the next answer.
    if (isOpen) poll();
  });
}

/** Listens no more; the next answer begins anew. */
function hush() {
  events?.close();
  events = null;
}

function reloaded({ changes, errors }) {
  const time = clock(Date.now());
  const news = errors
    ? { level: "bad", text: `A reload was refused at ${time}: ${errors.map((error) => error.message).join("; ")}` }
    : { level: "none", text: `Reloaded at ${time}: ${changes.join("; ") || "nothing changed"}` };
  // What follows a refused one is what counts.
  notices = [...(errors ? notices : notices.filter((notice) => notice.level !== "bad")), { ...news, key: `reload ${Date.now()}` }];
  notices = notices.slice(-NOTICES_MAX);
  attend(attention);
  poll();
}

// The person

function filter(text) {
  wanted = text.trim().toLowerCase();
  for (const table of [listeners, pools, endpoints]) table.filter();
  filterRefusals();
}

$("filter").addEventListener("input", (event) => filter(event.target.value));
document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    $("filter").focus();
  } else if (event.key === "Escape") {
    $("filter").value = "";
    $("filter").blur();
    filter("");
  }
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hush();
  else poll();
});

say($("host"), location.host);
const minutes = -new Date().getTimezoneOffset();
const zone = `UTC${minutes < 0 ? "−" : "+"}${Math.floor(Math.abs(minutes) / 60)}${minutes % 60 ? `:${Math.abs(minutes % 60)}` : ""}`;
say($("zone"), `Times are local, ${minutes === 0 ? "UTC" : zone}.`);
poll();
