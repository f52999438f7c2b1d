// Keeps the page live, filters while you type, shows the detail of the bars on hover and focus, and zooms into the charts.
// Without it the page shows the same, once.
"use strict";
{
  const ROOT = document.documentElement.dataset.root;
  const LANGUAGE = document.documentElement.lang;
  const WORDS = JSON.parse(document.documentElement.dataset.words);
  const SVG = "http://www.w3.org/2000/svg";
  const DAY = 864e5;
  const SETTLE = 200; // ms: what changes together is fetched once
  const SAMPLES = 5000; // ms: probes alone are shown no more often
  const WITHOUT_EVENTS = 30000; // ms

  // A sentence in the reader's language, with the values in the place of their names.
  function say(name, values = {}) {
    return WORDS[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
  }

  // Times that are best read as an age.
  function tick() {
    for (const time of document.querySelectorAll("time.ago")) {
      const s = Math.max(0, Math.round((Date.now() - Date.parse(time.dateTime)) / 1000));
      if (s < 120) time.textContent = say("ago", { ago: `${s} s` });
      else if (s < 7200) time.textContent = say("ago", { ago: `${Math.floor(s / 60)} min` });
    }
  }
  tick();
  setInterval(tick, 1000);

  // Makes `now` like `wanted` with as few changes as possible: focus, open details and scroll positions stay.
  function morph(now, wanted) {
    if (now.isEqualNode(wanted)) return;
    if (now.nodeName !== wanted.nodeName) return now.replaceWith(document.importNode(wanted, true));
    if (now.nodeType !== Node.ELEMENT_NODE) {
      now.nodeValue = wanted.nodeValue;
      return;
    }
    // The visitor's choices stay: open details, the filter, and the day whose samples the bars lead to.
    if (now.id === "filter" && now.contains(document.activeElement)) return;
    const keep = (name) => (name === "open" && now.id === wanted.id && !("filtered" in wanted.dataset)) || (name === "href" && shown !== null && shown.bars === now);
    for (const { name, value } of wanted.attributes) {
      if (now.getAttribute(name) !== value && !keep(name)) now.setAttribute(name, value);
    }
    for (const { name } of [...now.attributes]) {
      if (!wanted.hasAttribute(name) && !keep(name)) now.removeAttribute(name);
    }
    const fresh = [...wanted.childNodes];
    fresh.forEach((node, n) => {
      const here = now.childNodes[n] ?? null;
      // What has an id keeps its element when others come, go or change their order.
      const same = node.id ? [...now.children].find((child) => child.id === node.id) : here?.id ? null : here;
      if (!same) return now.insertBefore(document.importNode(node, true), here);
      if (same !== here) now.insertBefore(same, here);
      morph(same, node);
    });
    while (now.childNodes.length > fresh.length) now.lastChild.remove();
  }

  let due = 0;
  let timer = 0;
  function refreshIn(ms) {
    const at = Date.now() + ms;
    if (timer && due <= at) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(refresh, ms);
  }
  async function refresh() {
    timer = 0;
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.title = fresh.title;
      const icon = "link[rel=icon]";
      const wanted = fresh.querySelector(icon).getAttribute("href");
      if (document.querySelector(icon).getAttribute("href") !== wanted) document.querySelector(icon).setAttribute("href", wanted);
      const focused = document.activeElement;
      morph(document.querySelector("main"), fresh.querySelector("main"));
      if (document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
      morph(document.querySelector("footer time"), fresh.querySelector("footer time"));
      tick();
    } catch {
      // The daemon does not answer; the next event or the next timer tries again.
    }
  }

  const lamp = document.getElementById("live");
  function listen() {
    const events = new EventSource(ROOT + "/api/v1/events");
    const shine = (on) => {
      lamp.classList.toggle("on", on);
      lamp.title = say(on ? "live" : "dead");
    };
    events.onopen = () => {
      shine(true);
      refreshIn(SETTLE);
    };
    events.onerror = () => {
      shine(false);
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, WITHOUT_EVENTS);
    };
    for (const name of ["opened", "updated", "escalated", "resolved"]) {
      events.addEventListener(`incident.${name}`, () => refreshIn(SETTLE));
    }
    for (const name of ["status.changed", "feed.changed", "budget.spent", "monitor.offline", "monitor.online", "detection.pending", "detection.cleared", "gap"]) {
      events.addEventListener(name, () => refreshIn(SETTLE));
    }
    events.addEventListener("probe.completed", () => refreshIn(SAMPLES));
  }
  // Without the token there are no events; the page is fetched now and then.
  if ("live" in document.documentElement.dataset) listen();
  setInterval(() => lamp.classList.contains("on") || refreshIn(0), WITHOUT_EVENTS);
  document.addEventListener("visibilitychange", () => document.hidden || refreshIn(0));

  document.documentElement.classList.add("scripted", "live-filter");
  const filter = document.getElementById("filter");
  function applyFilter() {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(filter)) if (value) query.set(name, value);
    history.replaceState(null, "", `${ROOT}/${query.size ? "?" + query : ""}`);
    refreshIn(0);
  }
  if (filter) {
    let typing = 0;
    filter.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(applyFilter, SETTLE);
    });
    filter.addEventListener("submit", (event) => {
      event.preventDefault();
      applyFilter();
    });
  }

  // Zoom: the range between where the pointer went down on a chart and where it came up.
  let drag = null; // { plot, box, from, area }
  document.addEventListener("pointerdown", (event) => {
    const plot = event.button === 0 && event.target instanceof Element ? event.target.closest("svg.zoom") : null;
    if (!plot) return;
    event.preventDefault();
    const area = document.createElement("div");
    area.className = "selection";
    drag = { plot, box: plot.getBoundingClientRect(), from: event.clientX, area };
    plot.parentElement.append(area);
  });
  function dragged(event) {
    const { box, from } = drag;
    const at = (x) => Math.min(1, Math.max(0, (x - box.left) / box.width));
    return [at(Math.min(from, event.clientX)), at(Math.max(from, event.clientX))];
  }
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [left, right] = dragged(event);
    const offset = drag.box.left - drag.plot.parentElement.getBoundingClientRect().left;
    drag.area.style.left = `${offset + left * drag.box.width}px`;
    drag.area.style.width = `${(right - left) * drag.box.width}px`;
  });
  document.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const [left, right] = dragged(event);
    const { since, until } = drag.plot.closest(".charts").dataset;
    drag.area.remove();
    drag = null;
    if (right - left < 0.02) return;
    const at = (share) => new Date(Math.min(Number(since) + share * (until - since), Date.now() - 1000)).toISOString();
    location.search = `?since=${at(left)}&until=${at(right)}`;
  });
  document.addEventListener("pointercancel", () => {
    if (drag) drag.area.remove();
    drag = null;
  });

  // The detail of a bar: its day and its hours.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const known = new Map();
  let shown = null; // { bars, day, byKey }

  function detailOf(name) {
    const had = known.get(name);
    if (had && Date.now() - had.at < 60000) return had.detail;
    const detail = fetch(`${ROOT}/endpoints/${encodeURIComponent(name)}/days`).then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)));
    detail.catch(() => known.delete(name));
    known.set(name, { at: Date.now(), detail });
    return detail;
  }
  function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }
  function describe(cell) {
    if (!cell) return say("nothing");
    const [ok, slow, failed, other] = cell;
    const all = ok + slow + failed;
    const parts = [];
    if (all) {
      const share = failed ? Math.min(99.999, Math.floor(((ok + slow) / all) * 1e5 + 1e-6) / 1e3) : 100;
      const shown = share.toLocaleString(LANGUAGE, { maximumFractionDigits: 3 });
      parts.push(say("available", { share: shown }), say(failed ? "failed" : "probes", { failed, all }));
    }
    if (slow) parts.push(say("slow", { slow }));
    if (other) parts.push(say("other", { other }));
    return parts.join(", ") || say("nothing");
  }
  function drawing(hours, day) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 96 20");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("class", "bars");
    const kinds = { none: "", ok: "", slow: "", part: "", bad: "" };
    for (let hour = 0; hour < 24; hour += 1) {
      const cell = hours[day * 24 + hour];
      const x = hour * 4;
      const all = cell ? cell[0] + cell[1] + cell[2] : 0;
      if (!all) {
        kinds.none += `M${x} 16h3v4h-3z`;
        continue;
      }
      kinds.ok += `M${x} 0h3v20h-3z`;
      // The thresholds and heights of the days.
      const bad = cell[2] / all;
      const [kind, h] = bad > 0.05 ? ["bad", 20] : bad > 0.01 ? ["part", 13] : bad > 0.001 || cell[1] / all >= 0.1 ? ["slow", 7] : ["ok", 0];
      if (h) kinds[kind] += `M${x} ${20 - h}h3v${h}h-3z`;
    }
    for (const [kind, d] of Object.entries(kinds)) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", kind);
      path.setAttribute("d", d);
      svg.append(path);
    }
    return svg;
  }
  async function show(bars, day, byKey) {
    shown = { bars, day, byKey };
    let detail;
    try {
      detail = await detailOf(bars.dataset.bars);
    } catch {
      return;
    }
    if (!shown || shown.bars !== bars || shown.day !== day) return;
    const start = new Date(Date.parse(detail.first) + day * DAY);
    const date = start.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
    const scale = document.createElement("div");
    scale.className = "scale";
    scale.append(element("span", "0 h"), element("span", "12 h"), element("span", "24 h UTC"));
    if (byKey) tip.setAttribute("role", "status");
    else tip.removeAttribute("role");
    tip.replaceChildren(element("b", date), element("div", describe(detail.days[day])), drawing(detail.hours, day), scale);
    tip.hidden = false;
    place();
    // Followed, it leads to that day.
    const end = new Date(Math.min(start.getTime() + DAY - 1, Date.now()));
    bars.href = `${ROOT}/endpoints/${encodeURIComponent(bars.dataset.bars)}?range=24h&until=${end.toISOString()}`;
  }
  function place() {
    const box = shown.bars.getBoundingClientRect();
    const middle = box.left + ((shown.day + 0.5) / 90) * box.width;
    const left = Math.min(Math.max(8, middle - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    const below = box.bottom + 8 + tip.offsetHeight < innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? box.bottom + 8 : box.top - 8 - tip.offsetHeight}px`;
  }
  function hide() {
    shown = null;
    tip.hidden = true;
  }
  const barsOf = (event) => (event.target instanceof Element ? event.target.closest("a.bars[data-bars]") : null);
  document.addEventListener("pointermove", (event) => {
    const bars = barsOf(event);
    if (!bars) return void (shown && document.activeElement !== shown.bars && hide());
    const box = bars.getBoundingClientRect();
    const day = Math.min(89, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * 90)));
    if (!shown || shown.bars !== bars || shown.day !== day) show(bars, day, false);
  });
  document.addEventListener("focusin", (event) => {
    const bars = barsOf(event);
    if (bars && bars.matches(":focus-visible")) show(bars, 89, true);
    else hide();
  });
  // A focus that is out of sight is scrolled to, so its detail comes along; the pointer's bars scroll away from under it.
  addEventListener("scroll", () => shown && (shown.byKey ? place() : hide()), { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const bars = barsOf(event);
    if (!bars) return;
    const at = shown && shown.bars === bars ? shown.day : 89;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: 89 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(bars, Math.min(89, Math.max(0, to)), true);
  });
}
