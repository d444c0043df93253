// Draws the upgrades of a site as they go on: one stream, a tree on a canvas, and the
// same in a table. What frames cost is kept in the canvas's data-costs, in ms; how often
// the tree was laid out in data-layouts, and how many strokes a picture has in data-strokes.
"use strict";
(() => {
  const at = (id) => document.getElementById("live-" + id);
  const page = at("site");
  if (!page) return;
  const words = JSON.parse(page.dataset.words);
  const say = (key) => words[key] ?? key.slice(key.indexOf(" ") + 1);
  // As other pages have numbers, in both languages. A browser's own way takes 50 ms when it is first used.
  const grouped = (n) => String(n).replace(/^\d{4,}$/, (d) => d.replace(/\B(?=(\d{3})+$)/g, ","));
  // As Fill of package wording: {one|more} goes by the number before it.
  const fill = (text, ...args) => {
    let n = args[0];
    return text.replace(/%[sd]|\{([^{}|]*)\|([^{}|]*)\}/g, (m, one, more) =>
      one === undefined ? grouped(n = args.shift()) : n === 1 ? one : more);
  };
  const rowsOfPage = 50, easeTime = 400;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  // Whatever is done for many devices is a generator: at each yield, after so many of them,
  // a frame may end, and at "yield true" it does.
  const some = 50;

  // A site, as a stream tells of it.
  class Site {
    constructor() { this.devices = new Map(); this.sorted = null; }
    // keeps, if it is not 0, is when what is shown was told: it stays, unless something
    // later is told.
    *apply(p, snapshot, keeps) {
      const before = this.devices;
      let i = 0;
      if (snapshot) { this.devices = new Map(keeps ? before : []); this.sorted = null; }
      for (const d of p.devices) {
        if (++i % some === 0) yield;
        if (keeps && Date.parse(d.old ?? "") <= keeps && before.has(d.device)) continue;
        if (d.gone) { this.devices.delete(d.device); this.sorted = null; continue; }
        let known = this.devices.get(d.device);
        if (!known) {
          this.devices.set(d.device, known = { name: d.device, load: null, files: null });
          this.sorted = null;
        }
        if (known.load !== (d.load ?? "") || d.fresh) known.files = new Map();
        known.address = d.address ?? ""; known.load = d.load ?? ""; known.state = d.state ?? ""; known.reason = d.reason ?? "";
        for (const f of d.files ?? []) known.files.set(f.file, f);
      }
    }
    // byName are all devices, by name.
    byName() {
      return this.sorted ??= [...this.devices.values()].sort((a, b) => a.name < b.name ? -1 : 1);
    }
  }

  const now = new Site();
  let shown = now;            // or a site of the past
  let past = false;           // somebody looks at the past
  let loading = 0;            // the timer that asks for it again
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
  const followed = new Set();
  const whyOf = (d, f) => f?.role === "root" && f.reason === "alone" && followed.has(d.address) ? words.followed : why(f?.reason);

  // The tree of the chosen file. First who is below whom; where each stands is laid out
  // beside the page, and only if somebody has another parent. At last the nodes settle there.
  const server = { name: "", d: null, f: null, up: null, other: null, leads: Infinity, x: NaN };
  let nodes = new Map(), tree = { nodes: [], widest: 1 }, eased = 0, roots = [], round = 0;
  const by = new Map(), way = [];
  function* gather() {
    let changed = !tree.nodes.length, i = 0;
    by.clear(); followed.clear(); roots = []; moved = false; round++;
    for (const d of shown.devices.values()) {
      if (++i % some === 0) yield;
      const f = d.files.get(chosen);
      if (!f) continue;
      let n = nodes.get(d.name);
      if (!n) nodes.set(d.name, n = { name: d.name, d, f, up: null, other: null, next: null, round, leads: 0, passed: 0,
        index: 0, x: NaN, y: 0, toX: 0, toY: 0, fromX: 0, fromY: 0, left: 0, top: 0, beside: 1, r: 0 });
      n.d = d; n.f = f; n.round = round;
      if (d.address) by.set(d.address, n);
      if (f.root && f.root !== d.address) followed.add(f.root);
      if (f.role === "root") roots.push(n);
    }
    for (const n of nodes.values()) {
      if (++i % some === 0) yield;
      if (n.round !== round) { nodes.delete(n.name); changed = true; continue; }
      n.next = by.get(n.f.parents?.[0]) ?? by.get(n.f.root) ?? server;
      if (n.next === n || n.f.role === "root" || n.f.role === "classic") n.next = server;
    }
    for (const n of nodes.values()) { // all parents lead to the server: what goes in a circle is cut once
      if (++i % some === 0) yield;
      let m = n;
      way.length = 0;
      for (; m.leads < round && m.passed < round; m = m.next) { m.passed = round; way.push(m); }
      if (m.leads < round) m.next = server;
      for (const w of way) w.leads = round;
    }
    for (const n of nodes.values()) {
      if (++i % some === 0) yield;
      const other = by.get(n.f.parents?.[1]) ?? null;
      changed ||= n.up !== n.next || n.other !== other;
      n.up = n.next; n.other = other;
    }
    if (changed) ask();
  }
  const layout = new Worker(page.dataset.layout);
  let asked = null, laid = null, layouts = 0;
  layout.postMessage(page.dataset.hierarchy);
  layout.addEventListener("message", ({ data }) => { laid = { ...data, ...asked }; asked = null; run(); });
  function ask() {
    const all = [server, ...nodes.values()], ups = new Int32Array(all.length).fill(-1);
    for (let i = 1; i < all.length; i++) all[i].index = i;
    for (let i = 1; i < all.length; i++) ups[i] = all[i].up === server ? 0 : all[i].up.index;
    asked = { all, of: nodes };
    layouts++;
    layout.postMessage(ups, [ups.buffer]);
  }
  function* settle() {
    const { all, x, y, beside, widest, of } = laid;
    laid = null;
    if (of !== nodes) { dirty = moved = true; return; } // another file was chosen meanwhile
    for (const [i, n] of all.entries()) {
      if (i % some === some - 1) yield;
      n.toX = x[i]; n.toY = y[i]; n.beside = beside[i];
      if (Number.isNaN(n.x)) { n.x = n.toX; n.y = n.toY; }
      n.fromX = n.x; n.fromY = n.y;
    }
    tree = { nodes: all, widest };
    eased = calm.matches ? 0 : performance.now();
    dirty ||= moved;
    due = [...due.filter((part) => part !== "draw"), "draw"];
  }

  // The lines of a picture are made first, over some frames, then it is drawn at once.
  const canvas = at("canvas"), pen = canvas.getContext("2d");
  let colours = {};
  function look() {
    const css = getComputedStyle(document.documentElement);
    for (const name of ["ink", "muted", "line", "accent", "ok", "bad", "panel", "warn"]) colours[name] = css.getPropertyValue("--" + name);
  }
  // A canvas makes its pixels, and finds its font, when it is first drawn on, which takes
  // longer than a picture: that is done when the page is loaded.
  function fit(box) {
    const scale = devicePixelRatio || 1, w = Math.round(box.width * scale), h = Math.round(box.height * scale);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, box.width, box.height);
    pen.font = "12px system-ui, sans-serif"; pen.textAlign = "center"; pen.fillStyle = colours.ink;
  }
  function* draw(time) {
    const all = tree.nodes, box = canvas.getBoundingClientRect(), width = box.width - 48, height = box.height - 70;
    const strokes = [];
    const line = (colour, width, path) => strokes.push(() => { pen.strokeStyle = colour; pen.lineWidth = width; pen.stroke(path); });
    const area = (colour, path) => strokes.push(() => { pen.fillStyle = colour; pen.fill(path); });
    const t = eased ? Math.min(1, (time - eased) / easeTime) : 1, k = t * (2 - t);
    const few = all.length <= 40, labels = few && box.width / tree.widest > 85;
    let i = 0;
    for (const n of all) {
      if (++i % some === 0) yield;
      n.x = n.fromX + (n.toX - n.fromX) * k; n.y = n.fromY + (n.toY - n.fromY) * k;
      n.left = 24 + n.x * width; n.top = 26 + n.y * height;
      n.r = few ? 11 : Math.max(1.5, Math.min(5, box.width / n.beside * 0.4)); // else a wide level is a bar
    }
    for (let i = 1; i < all.length; i += some) {
      const thick = new Path2D(), thin = new Path2D();
      let second = false;
      for (let k = i; k < Math.min(i + some, all.length); k++) {
        const n = all[k];
        thick.moveTo(n.up.left, n.up.top); thick.lineTo(n.left, n.top);
        if (n.other && n.other !== n.up) { second = true; thin.moveTo(n.other.left, n.other.top); thin.lineTo(n.left, n.top); }
      }
      if (second) line(colours.line, 0.5, thin);
      line(colours.line, 1.3, thick);
      yield;
    }
    // By colour, so that a thousand nodes are a few strokes.
    const kinds = { muted: [], ok: [], accent: [], bad: [] };
    for (const n of all) {
      if (++i % some === 0) yield;
      if (n.d) kinds[failed(n.d, n.f) ? "bad" : n.f.source === "origin" ? "accent" : n.f.source === "peer" ? "ok" : "muted"].push(n);
    }
    const shape = (path, n, s) => {
      const a = n.left, b = n.top;
      if (n.f.role === "root") path.rect(a - s, b - s, 2 * s, 2 * s);
      else if (n.f.role === "classic" || n.f.source === "origin") { path.moveTo(a, b - s); path.lineTo(a + s, b); path.lineTo(a, b + s); path.lineTo(a - s, b); path.closePath(); }
      else { path.moveTo(a + s, b); path.arc(a, b, s, 0, 7); }
    };
    for (const colour in kinds) {
      const of = kinds[colour], least = colour === "bad" || colour === "accent" ? 4 : 0; // what matters is seen
      for (let i = 0; i < of.length; i += some) {
        const edge = new Path2D(), full = new Path2D();
        for (let k = i; k < Math.min(i + some, of.length); k++) {
          const n = of[k], a = n.left, b = n.top, r = Math.max(n.r, least), s = r * Math.sqrt(part(n.f)), c = r * 0.7;
          shape(edge, n, r);
          if (colour === "bad") { full.moveTo(a - c, b - c); full.lineTo(a + c, b + c); full.moveTo(a + c, b - c); full.lineTo(a - c, b + c); }
          else if (s > 0.3) shape(full, n, s);
        }
        area(colours.panel, edge); line(colours[colour], 1.5, edge);
        if (colour === "bad") line(colours.bad, 1.5, full); else area(colours[colour], full);
        yield;
      }
    }
    yield true; // what follows is done at once, else half a picture is seen
    fit(box);
    for (const stroke of strokes) stroke();
    pen.fillStyle = colours.ink; pen.strokeStyle = colours.muted; pen.lineWidth = 1.5;
    if (all.length) { pen.strokeRect(server.left - 9, server.top - 9, 18, 18); pen.fillText(say("server"), server.left, server.top - 13); }
    for (let i = 1; labels && i < all.length; i++) {
      const n = all[i];
      pen.fillText(n.d.address || n.name, n.left, n.top + n.r + 14); pen.fillText(Math.floor(part(n.f) * 100) + " %", n.left, n.top + n.r + 28);
    }
    easing = t < 1;
    drawn = strokes.length;
  }

  // Another file has another tree.
  function another() { nodes = new Map(); tree = { nodes: [], widest: 1 }; server.x = NaN; first = 0; moved = true; }

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
      if (chosen !== was) another();
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
    put(at("devices"), grouped(shown.devices.size)); put(at("devices-word"), fill(words.devices, shown.devices.size));
    put(at("done"), grouped(done)); put(at("done-word"), fill(words.done, done));
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
    put(at("root"), !nodes.size ? "" : roots.length
      ? roots.slice(0, 3).map((n) => fill(words.root, n.name, whyOf(n.d, n.f) || "–")).join(" ") : words.noroot);
  }
  function* table() {
    const bad = [], good = [];
    let n = 0;
    for (const d of shown.byName()) {
      if (++n % some === 0) yield;
      const f = d.files.get(chosen);
      if (f || !chosen) (failed(d, f) ? bad : good).push([d, f]);
    }
    const all = bad.concat(good);
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
  const budget = 3;
  let due = [], job = null, name = "", last = 0, running = false, seeking = false, easing = false, frames = 0, drawn = 0;
  const costs = [], longest = {}, inbox = [];
  const parts = { take, seek, settle, files, gather, figures, table, draw };
  function next(time) {
    if (inbox.length) name = "take";
    else if (seeking) name = "seek";
    else if (laid) name = "settle";
    else {
      if (!due.length && dirty && time - last > 250) {
        last = time; dirty = false;
        due = ["files", "gather", "figures", "table", "draw"];
      }
      if (due[0] === "gather" && (!moved || asked)) due.shift(); // whoever is asked answers first
      name = due.shift() ?? (easing ? "draw" : "");
    }
    return name ? parts[name](time) : null;
  }
  function frame(time) {
    const began = performance.now();
    job ??= next(time);
    if (job) {
      let done, value;
      do ({ done, value } = job.next()); while (!done && !value && performance.now() - began < budget);
      if (done) job = null;
      const cost = performance.now() - began;
      costs[frames++ % 1000] = cost;
      longest[name] = Math.max(longest[name] ?? 0, cost);
    }
    running = !!job || inbox.length > 0 || seeking || !!laid || due.length > 0 || dirty || easing;
    if (running) requestAnimationFrame(frame);
    else {
      const sorted = [...costs].sort((a, b) => a - b), share = (p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];
      canvas.dataset.frames = frames; canvas.dataset.layouts = layouts; canvas.dataset.strokes = drawn;
      canvas.dataset.longest = Object.entries(longest).map(([part, c]) => `${part} ${c.toFixed(2)}`).join(", ");
      canvas.dataset.costs = [share(0.5), share(0.95), share(1)].map((c) => c.toFixed(2)).join(", ");
    }
  }
  function run() { if (!running) { running = true; requestAnimationFrame(frame); } }
  function wake(grown) { dirty = true; moved ||= grown; run(); }

  // A controller that was restarted may know less than what is shown: devices tell it
  // again only what goes on. Its process is the first part of an event's id.
  const restartTime = 10 * 60 * 1000, process = (id) => id.split("-")[0];
  let source = null, seen = { id: "", at: 0 };
  function status(key) { put(at("status"), past ? words.replay : now.devices.size ? words[key] : key === "live" ? words.none : words[key]); }
  function* take() {
    const { data, snapshot, id } = inbox.shift(), p = JSON.parse(data);
    yield;
    const other = seen.id && process(seen.id) !== process(id);
    yield* now.apply(p, snapshot, other && Date.parse(p.at) - seen.at < restartTime ? seen.at : 0);
    seen = { id, at: Date.parse(p.at) };
    status("live");
    if (!past) dirty = moved = true;
  }
  // Nobody looks, and no frame comes: what is told is taken at once.
  function drain() {
    if (job && name === "take") { for (; !job.next().done;); job = null; }
    while (inbox.length) for (const steps = take(); !steps.next().done;);
  }
  function open() {
    source = new EventSource(page.dataset.stream);
    const keep = (snapshot) => (e) => {
      inbox.push({ data: e.data, snapshot, id: e.lastEventId });
      if (document.hidden) drain(); else run();
    };
    source.addEventListener("snapshot", keep(true));
    source.addEventListener("change", keep(false));
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

  // The past: the last upgrade, step by step. A server that restarts, or has much to do, is
  // asked again; one that refuses is not.
  async function load() {
    clearTimeout(loading);
    let answer = null;
    try { answer = await fetch(page.dataset.last); } catch { /* nobody answers yet */ }
    if (!answer || answer.status >= 500) loading = setTimeout(load, 3000);
    if (!answer?.ok) return;
    replay = await answer.json();
    // The present is the right end, also where nothing has changed yet.
    at("time").max = Math.max(replay.changes.length, 1);
    if (!past) at("time").value = at("time").max;
    stamp();
  }
  function stamp() {
    const i = +at("time").value, n = replay?.changes.length ?? 0;
    const when = i < n ? (i ? replay.changes[i - 1].at : replay.before.at) : "";
    put(at("at"), when ? new Date(when).toLocaleTimeString(document.documentElement.lang) : "");
  }
  function sought() {
    past = !!replay && +at("time").value < replay.changes.length;
    seeking = past;
    if (name === "seek") job = null;
    if (!past) shown = now;
    at("now").hidden = !past;
    stamp(); status("live"); wake(true);
  }
  function* seek() {
    const site = new Site();
    seeking = false;
    yield* site.apply(replay.before, true);
    for (const c of replay.changes.slice(0, +at("time").value)) yield* site.apply(c, false);
    shown = site;
    dirty = moved = true;
  }
  at("time").addEventListener("focus", load);
  at("time").addEventListener("pointerdown", load);
  at("time").addEventListener("input", sought);
  at("now").addEventListener("click", () => { at("time").value = at("time").max; sought(); });
  at("file").addEventListener("change", (e) => { chosen = e.target.value; picked = true; another(); wake(true); });
  at("before").addEventListener("click", () => { first -= rowsOfPage; wake(false); });
  at("after").addEventListener("click", () => { first += rowsOfPage; wake(false); });
  addEventListener("resize", () => wake(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { look(); wake(false); });
  look(); fit(canvas.getBoundingClientRect()); pen.fillText(say("server"), 0, -20); load(); open();
})();
