// Draws the upgrades of a site as they go on: one stream, a tree on a canvas, and the
// same in a table. What frames cost is kept in the canvas's data-costs, in ms.
"use strict";
(() => {
  const at = (id) => document.getElementById("live-" + id);
  const page = at("site");
  if (!page) return;
  const words = JSON.parse(page.dataset.words);
  const say = (key) => words[key] ?? key.slice(key.indexOf(" ") + 1);
  // As Fill of package wording: {one|more} goes by the number before it.
  const fill = (text, ...args) => {
    let n = args[0];
    return text.replace(/%[sd]|\{([^{}|]*)\|([^{}|]*)\}/g, (m, one, more) =>
      one === undefined ? n = args.shift() : n === 1 ? one : more);
  };
  const rowsOfPage = 50, easeTime = 400;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  // A site, as a stream tells of it.
  class Site {
    constructor() { this.devices = new Map(); }
    // keeps, if it is not 0, is when what is shown was told: it stays, unless something
    // later is told.
    apply(p, snapshot, keeps) {
      const before = this.devices;
      if (snapshot) this.devices = new Map(keeps ? before : []);
      for (const d of p.devices) {
        if (keeps && Date.parse(d.old ?? "") <= keeps && before.has(d.device)) continue;
        if (d.gone) { this.devices.delete(d.device); continue; }
        const old = this.devices.get(d.device);
        const files = old && old.load === (d.load ?? "") && !d.fresh ? old.files : new Map();
        for (const f of d.files ?? []) files.set(f.file, f);
        this.devices.set(d.device, { name: d.device, address: d.address ?? "", load: d.load ?? "", state: d.state ?? "",
          reason: d.reason ?? "", files });
      }
    }
    copy() {
      const c = new Site();
      for (const [name, d] of this.devices) c.devices.set(name, { ...d, files: new Map(d.files) });
      return c;
    }
  }

  const now = new Site();
  let shown = now;            // or a site of the past
  let replay = null, chosen = "", picked = false, first = 0, dirty = true, moved = true;
  const bytes = (n) => {
    for (const [unit, of] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
      if (n >= of) return (Math.round(n / of * 10) / 10) + " " + unit;
    }
    return n + " B";
  };
  const put = (el, text) => { if (el.textContent !== text) el.textContent = text; };
  const part = (f) => f.end === "done" ? 1 : f.size > 0 ? Math.min(1, f.have / f.size) : 0;
  const failed = (d, f) => f?.end === "failed" || d.state === "failed" || d.state === "rolled-back";
  const why = (code) => code ? say("why " + code) : "";
  // That nobody answered a root is true of its election: it is judged by who follows now.
  let followed = new Set();
  const whyOf = (d, f) => f?.role === "root" && f.reason === "alone" && followed.has(d.address) ? words.followed : why(f?.reason);

  // The tree of the chosen file: nodes with their places, and lines.
  // Three steps, each in frames of its own: who is below whom, where each stands, what
  // is drawn from where to where. The latter two only if somebody has another parent.
  // A yield is where a frame may end, as with all that is done for many devices.
  const some = 100;
  let tree = { nodes: [], lines: [], widest: 1 }, places = new Map(), eased = 0, by = new Map(), server = null, laid = null;
  function* gather() {
    const all = [];
    by = new Map(); followed = new Set(); moved = false;
    for (const d of shown.devices.values()) {
      const f = d.files.get(chosen);
      if (!f) continue;
      const n = { d, f, children: [], name: d.name };
      all.push(n);
      if (d.address) by.set(d.address, n);
      if (f.root && f.root !== d.address) followed.add(f.root);
      if (all.length % some === 0) yield;
    }
    server = { name: "", children: [], leads: true };
    for (const n of all) n.up = by.get(n.f.parents?.[0]) ?? by.get(n.f.root) ?? server;
    for (const n of all) if (n.up === n || n.f.role === "root" || n.f.role === "classic") n.up = server;
    for (const n of all) { // all parents lead to the server: what goes in a circle is cut once
      const way = [];
      let m = n;
      for (; !m.leads && !m.passed; m = m.up) { m.passed = true; way.push(m); }
      if (!m.leads) m.up = server;
      for (const w of way) w.leads = true;
    }
    yield;
    const same = (n, old) => old?.up.name === n.up.name && old.d.address === n.d.address && old.f.parents?.[1] === n.f.parents?.[1];
    if (all.length + 1 === places.size && all.every((n) => same(n, places.get(n.name)))) {
      for (const n of all) Object.assign(places.get(n.name), { d: n.d, f: n.f });
      due = due.filter((part) => part !== "lay" && part !== "settle");
      return;
    }
    for (const n of all) n.up.children.push(n);
  }
  function* lay() {
    laid = d3.hierarchy(server);
    yield;
    d3.tree().size([1, 1])(laid);
  }
  function* settle() {
    const nodes = [], lines = [];
    const next = new Map(), levels = [];
    for (const h of laid.descendants()) {
      const n = h.data, from = places.get(n.name);
      n.to = [h.x, laid.height ? h.y : 0.5];
      n.from = from ? from.at ?? from.to : n.to;
      n.at = n.from;
      nodes.push(n);
      levels[h.depth] = (levels[h.depth] ?? 0) + 1;
      next.set(n.name, n);
      if (h.parent) lines.push([h.parent.data, n]);
      const other = by.get(n.f?.parents?.[1]);
      if (other && other !== n.up) lines.push([other, n, true]);
      if (nodes.length % some === 0) yield;
    }
    tree = { nodes, lines, widest: Math.max(...levels) };
    places = next;
    eased = calm.matches ? 0 : performance.now();
  }

  // The lines of a picture are made first, over some frames, then it is drawn at once.
  const canvas = at("canvas"), pen = canvas.getContext("2d");
  let colours = {};
  function look() {
    const css = getComputedStyle(document.documentElement);
    for (const name of ["ink", "muted", "line", "accent", "ok", "bad", "panel", "warn"]) colours[name] = css.getPropertyValue("--" + name);
  }
  function* draw(time) {
    const { nodes, lines, widest } = tree;
    const box = canvas.getBoundingClientRect(), scale = devicePixelRatio || 1;
    const w = Math.round(box.width * scale), h = Math.round(box.height * scale);
    const strokes = [];
    const line = (colour, width, path) => strokes.push(() => { pen.strokeStyle = colour; pen.lineWidth = width; pen.stroke(path); });
    const area = (colour, path) => strokes.push(() => { pen.fillStyle = colour; pen.fill(path); });
    const t = eased ? Math.min(1, (time - eased) / easeTime) : 1, k = t * (2 - t);
    const few = nodes.length <= 40, labels = few && box.width / widest > 85, r = few ? 11 : nodes.length <= 150 ? 6 : 3;
    const x = (n) => 24 + n.at[0] * (box.width - 48), y = (n) => 26 + n.at[1] * (box.height - 70);
    for (const n of nodes) n.at = t < 1 ? [n.from[0] + (n.to[0] - n.from[0]) * k, n.from[1] + (n.to[1] - n.from[1]) * k] : n.to;
    yield;
    for (const thin of [true, false]) {
      const of = lines.filter(([, , second]) => !!second === thin);
      for (let i = 0; i < of.length; i += some) {
        const path = new Path2D();
        for (const [a, b] of of.slice(i, i + some)) { path.moveTo(x(a), y(a)); path.lineTo(x(b), y(b)); }
        line(colours.line, thin ? 0.5 : 1.3, path);
        yield;
      }
    }
    // By colour, so that a thousand nodes are a few strokes.
    const kinds = { bad: [], accent: [], ok: [], muted: [] };
    for (const n of nodes) {
      if (n.d) kinds[failed(n.d, n.f) ? "bad" : n.f.source === "origin" ? "accent" : n.f.source === "peer" ? "ok" : "muted"].push(n);
    }
    const shape = (path, n, s) => {
      const a = x(n), b = y(n);
      if (n.f.role === "root") path.rect(a - s, b - s, 2 * s, 2 * s);
      else if (n.f.role === "classic" || n.f.source === "origin") { path.moveTo(a, b - s); path.lineTo(a + s, b); path.lineTo(a, b + s); path.lineTo(a - s, b); path.closePath(); }
      else { path.moveTo(a + s, b); path.arc(a, b, s, 0, 7); }
    };
    for (const [colour, all] of Object.entries(kinds)) {
      for (let i = 0; i < all.length; i += some) {
        const edge = new Path2D(), full = new Path2D(), cross = new Path2D();
        for (const n of all.slice(i, i + some)) {
          const a = x(n), b = y(n), s = r * Math.sqrt(part(n.f)), c = r * 0.7;
          shape(edge, n, r);
          if (colour === "bad") { cross.moveTo(a - c, b - c); cross.lineTo(a + c, b + c); cross.moveTo(a + c, b - c); cross.lineTo(a - c, b + c); }
          else if (s > 0.3) shape(full, n, s);
        }
        area(colours.panel, edge); line(colours[colour], 1.5, edge); area(colours[colour], full); line(colours[colour], 1.5, cross);
        yield;
      }
    }
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, box.width, box.height);
    for (const stroke of strokes) stroke();
    pen.font = "12px system-ui, sans-serif"; pen.textAlign = "center"; pen.fillStyle = colours.ink;
    for (const n of labels ? nodes : nodes.filter((n) => !n.d)) {
      if (!n.d) { pen.strokeStyle = colours.muted; pen.lineWidth = 1.5; pen.strokeRect(x(n) - 9, y(n) - 9, 18, 18); pen.fillText(say("server"), x(n), y(n) - 13); }
      else { pen.fillText(n.d.address || n.name, x(n), y(n) + r + 14); pen.fillText(Math.floor(part(n.f) * 100) + " %", x(n), y(n) + r + 28); }
    }
    easing = t < 1;
  }

  // What is beside the canvas.
  function* files() {
    const seen = new Map(), open = new Set();
    let i = 0;
    for (const d of shown.devices.values()) {
      for (const f of d.files.values()) {
        seen.set(f.file, Math.max(seen.get(f.file) ?? 0, f.size));
        if (!f.end && part(f) < 1) open.add(f.file);
      }
      if (++i % some === 0) yield;
    }
    const names = [...seen.keys()].sort(), select = at("file");
    if (names.join("\n") !== [...select.options].map((o) => o.value).join("\n")) {
      select.replaceChildren(...names.map((n) => new Option(n, n)));
      select.value = chosen;
    }
    // Unless somebody has chosen one it is the largest that is under way, of which nobody
    // may have told at first.
    if (!picked || !seen.has(chosen)) {
      const was = chosen, all = seen.has(chosen) ? names.filter((n) => open.has(n)) : names;
      if (!seen.has(chosen)) chosen = "";
      for (const n of all) {
        if (!chosen || (open.has(n) === open.has(chosen) ? seen.get(n) > seen.get(chosen) : open.has(n))) chosen = n;
      }
      select.value = chosen;
      if (chosen !== was) { places = new Map(); first = 0; moved = true; }
    }
  }
  function* figures() {
    let wan = 0, classic = 0, done = 0, bad = [], i = 0;
    for (const d of shown.devices.values()) {
      let all = d.files.size > 0, f1 = null;
      for (const f of d.files.values()) {
        wan += f.wan;
        if (f.source !== "cache" || f.wan > 0) classic += f.have;
        all &&= part(f) === 1;
        if (f.end === "failed") f1 = f;
      }
      if (all) done++;
      if (failed(d, f1)) bad.push([d, f1]);
      if (++i % some === 0) yield;
    }
    put(at("devices"), String(shown.devices.size)); put(at("devices-word"), fill(words.devices, shown.devices.size));
    put(at("done"), String(done)); put(at("done-word"), fill(words.done, done));
    const most = Math.max(wan, classic, 1);
    at("wan").value = wan / most; at("classic").value = classic / most;
    put(at("wan-text"), bytes(wan)); put(at("classic-text"), bytes(classic));
    put(at("saved"), classic > 0 ? Math.max(0, Math.floor(100 - wan / classic * 100)) + " %" : "–");
    at("failures").hidden = !bad.length;
    const list = at("failures").querySelector("ul"), text = bad.slice(0, 20).map(([d, f]) =>
      `${d.name} · ${f ? f.file : d.load}: ${why(f?.reason || d.reason) || say("state " + d.state)}`);
    if (list.dataset.text !== text.join("\n")) {
      list.dataset.text = text.join("\n");
      list.replaceChildren(...text.map((s) => Object.assign(document.createElement("li"), { textContent: "✕ " + s })));
    }
    const { nodes } = tree, roots = nodes.filter((n) => n.f?.role === "root");
    put(at("root"), !nodes.length || nodes.length < 2 ? "" : roots.length
      ? roots.slice(0, 3).map((n) => fill(words.root, n.name, whyOf(n.d, n.f) || "–")).join(" ") : words.noroot);
  }
  function* table() {
    const bad = [], good = [];
    for (const d of shown.devices.values()) {
      const f = d.files.get(chosen);
      if (f || !chosen) (failed(d, f) ? bad : good).push([d, f]);
    }
    const byName = ([a], [b]) => a.name < b.name ? -1 : 1;
    const all = bad.sort(byName).concat(good.sort(byName));
    yield;
    first = Math.max(0, Math.min(first, all.length - 1));
    first -= first % rowsOfPage;
    const body = at("rows"), page = all.slice(first, first + rowsOfPage);
    while (body.rows.length > page.length) body.deleteRow(-1);
    for (const [i, [d, f]] of page.entries()) {
      const row = body.rows[i] ?? body.insertRow();
      const cells = [d.name + (d.address && d.address !== d.name ? ` (${d.address})` : ""),
        f ? Math.floor(part(f) * 100) + " %" + (f.size ? ` · ${bytes(f.have)} / ${bytes(f.size)}` : "") : "–",
        f?.source ? say("source " + f.source) : "–", f?.role ? say("role " + f.role) : "–", f?.parents?.join(", ") || "–",
        failed(d, f) ? "✕ " + (why(f?.reason || d.reason) || say("state " + d.state)) : whyOf(d, f) || "–"];
      row.className = failed(d, f) ? "bad" : "";
      cells.forEach((text, c) => {
        const cell = row.cells[c] ?? row.insertCell();
        if (c && !cell.dataset.l) cell.dataset.l = words[["device", "progress", "source", "role", "parent", "why"][c]];
        put(cell, text);
      });
      if (i % 5 === 4) yield;
    }
    at("before").hidden = first === 0;
    at("after").hidden = first + rowsOfPage >= all.length;
    put(at("page"), all.length ? fill(words.page, first + 1, first + page.length, all.length) : "");
  }

  // One thing a frame: what is due most, or as much of it as the time allows. So no frame
  // takes long.
  const budget = 4;
  let due = [], job = null, name = "", last = 0, running = false, easing = false, frames = 0;
  const costs = [], longest = {};
  const parts = { files, gather, lay, settle, figures, table, draw };
  function next(time) {
    if (!due.length && dirty && time - last > 250) {
      last = time; dirty = false;
      due = ["files", "tree", "figures", "table", "draw"];
    }
    if (due[0] === "tree") due.splice(0, 1, ...(moved ? ["gather", "lay", "settle"] : []));
    name = due.shift() ?? (easing ? "draw" : "");
    return name ? parts[name](time) : null;
  }
  function frame(time) {
    const began = performance.now();
    job ??= next(time);
    if (job) {
      let done;
      do ({ done } = job.next()); while (!done && performance.now() - began < budget);
      if (done) job = null;
      const cost = performance.now() - began;
      costs[frames++ % 1000] = cost;
      longest[name] = Math.max(longest[name] ?? 0, cost);
    }
    running = !!job || due.length > 0 || dirty || easing;
    if (running) requestAnimationFrame(frame);
    else {
      const sorted = [...costs].sort((a, b) => a - b), share = (p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];
      canvas.dataset.frames = frames;
      canvas.dataset.longest = Object.entries(longest).map(([part, c]) => `${part} ${c.toFixed(2)}`).join(", ");
      canvas.dataset.costs = [share(0.5), share(0.95), share(1)].map((c) => c.toFixed(2)).join(", ");
    }
  }
  function wake(grown) {
    dirty = true; moved ||= grown;
    if (!running) { running = true; requestAnimationFrame(frame); }
  }

  // A controller that was restarted may know less than what is shown: devices tell it
  // again only what goes on. Its process is the first part of an event's id.
  const restartTime = 10 * 60 * 1000, process = (id) => id.split("-")[0];
  let source = null, seen = { id: "", at: 0 };
  function status(key) { put(at("status"), replayed() ? words.replay : now.devices.size ? words[key] : key === "live" ? words.none : words[key]); }
  const replayed = () => shown !== now;
  function open() {
    source = new EventSource(page.dataset.stream);
    const take = (snapshot) => (e) => {
      const p = JSON.parse(e.data);
      const other = seen.id && process(seen.id) !== process(e.lastEventId);
      now.apply(p, snapshot, other && Date.parse(p.at) - seen.at < restartTime ? seen.at : 0);
      seen = { id: e.lastEventId, at: Date.parse(p.at) };
      status("live");
      if (!replayed()) wake(true);
    };
    source.addEventListener("snapshot", take(true));
    source.addEventListener("change", take(false));
    source.addEventListener("open", () => status("live"));
    source.addEventListener("error", () => {
      status("lost");
      if (source.readyState === EventSource.CLOSED) setTimeout(again, 3000);
    });
  }

  // A stream that is refused says not why: whose session has ended is asked to sign in.
  async function again() {
    try {
      if ((await fetch("/api/v1/session")).status === 401) { location.reload(); return; }
    } catch { /* nobody answers yet */ }
    open();
  }

  // The past: the last upgrade, step by step.
  async function load() {
    const answer = await fetch(page.dataset.last);
    if (!answer.ok) return;
    replay = await answer.json();
    at("time").max = replay.changes.length;
    if (!replayed()) at("time").value = replay.changes.length;
    stamp();
  }
  function stamp() {
    const i = +at("time").value, n = replay?.changes.length ?? 0;
    const when = i < n ? (i ? replay.changes[i - 1].at : replay.before.at) : "";
    put(at("at"), when ? new Date(when).toLocaleTimeString(document.documentElement.lang) : "");
  }
  function seek() {
    const i = +at("time").value, n = replay?.changes.length ?? 0;
    if (!replay || i >= n) shown = now;
    else {
      shown = new Site();
      shown.apply(replay.before, true);
      for (const c of replay.changes.slice(0, i)) shown.apply(c, false);
    }
    at("now").hidden = !replayed();
    stamp(); status("live"); wake(true);
  }
  at("time").addEventListener("focus", load);
  at("time").addEventListener("pointerdown", load);
  at("time").addEventListener("input", seek);
  at("now").addEventListener("click", () => { at("time").value = at("time").max; seek(); });
  at("file").addEventListener("change", (e) => { chosen = e.target.value; picked = true; places = new Map(); first = 0; wake(true); });
  at("before").addEventListener("click", () => { first -= rowsOfPage; wake(false); });
  at("after").addEventListener("click", () => { first += rowsOfPage; wake(false); });
  addEventListener("resize", () => wake(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { look(); wake(false); });
  look(); load(); open();
})();
