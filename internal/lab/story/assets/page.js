"use strict";
(function () {
  const d = JSON.parse(document.getElementById("data").textContent);
  const end = Math.max(d.end, 0.1);
  const W = 1040, H = 230, L = 52, R = 14, T = 24, B = 28;
  const x = t => L + (W - L - R) * Math.min(t, end) / end;
  function steps(max, n) {
    const raw = max / n, p = Math.pow(10, Math.floor(Math.log10(raw)));
    const s = [1, 2, 5, 10].find(m => m * p >= raw) * p, out = [];
    for (let v = 0; v <= max * 1.0001; v += s) out.push(+v.toPrecision(6));
    return out;
  }

  // Numbers are for what explains a curve: stories first, then new roots.
  const shown = d.marks.map((m, i) => ({ m, i })).filter(o => o.m.kind !== "fallback").slice(0, 60);
  const rows = document.querySelectorAll("#events tr");
  shown.forEach((o, n) => { if (rows[o.i]) rows[o.i].cells[0].textContent = n + 1; });

  // frame draws axes, marks and the cursor that both charts share.
  const cursors = [];
  function frame(id, max, label, unit) {
    const svg = el(null, "svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
    document.getElementById(id).appendChild(svg);
    const y = v => H - B - (H - T - B) * v / max;
    for (const v of steps(max, 4)) {
      el(svg, "line", { class: v ? "grid" : "axis", x1: L, x2: W - R, y1: y(v), y2: y(v) });
      el(svg, "text", { x: L - 7, y: y(v) + 4, "text-anchor": "end" }, v + unit);
    }
    for (const t of steps(end, 10)) el(svg, "text", { x: x(t), y: H - 9, "text-anchor": "middle" }, t + " s");
    // Where events crowd, a number stands for those behind it too.
    const taken = [-99, -99];
    shown.forEach((o, n) => {
      const px = x(o.m.t_s);
      el(svg, "line", { class: "mark " + o.m.kind, x1: px, x2: px, y1: T, y2: H - B });
      const row = taken.findIndex(at => px - at >= 16);
      if (row >= 0) {
        taken[row] = px;
        el(svg, "text", { class: "no", x: px, y: T - 4 - 10 * row, "text-anchor": "middle" }, n + 1);
      }
      const text = (n + 1) + ": " + o.m.t_s.toFixed(2) + " s " + (o.m.devices || []).slice(0, 3).join(", ") + " " + o.m.text;
      const hit = el(svg, "line", { x1: px, x2: px, y1: 0, y2: H - B, stroke: "transparent", "stroke-width": 7 });
      hit.addEventListener("mousemove", ev => show(ev, text));
      hit.addEventListener("mouseleave", hide);
    });
    cursors.push(el(svg, "line", { class: "cursor", x1: L, x2: L, y1: T, y2: H - B }));
    svg.addEventListener("click", ev => {
      const box = svg.getBoundingClientRect();
      set(((ev.clientX - box.left) * W / box.width - L) / (W - L - R) * end);
    });
    return { svg, y };
  }

  // The WAN's rate: over about half a second, in Mbit/s.
  const rate = d.times.map((t, i) => {
    let j = i;
    while (j > 0 && t - d.times[j] < 0.5) j--;
    const dt = t - d.times[j];
    return dt > 0 ? 8e-6 * (d.down[i] - d.down[j]) / dt : 0;
  });
  const cap = d.wan / 1e6;
  const wan = frame("wan", Math.max(cap * 1.1, ...rate), "rate of the WAN over time", "");
  el(wan.svg, "text", { x: 4, y: 12 }, "Mbit/s");
  const pts = d.times.map((t, i) => x(t).toFixed(1) + "," + wan.y(rate[i]).toFixed(1));
  el(wan.svg, "line", { class: "cap", x1: L, x2: W - R, y1: wan.y(cap), y2: wan.y(cap) });
  if (pts.length) {
    el(wan.svg, "polygon", { class: "area", points: `${x(d.times[0])},${wan.y(0)} ${pts.join(" ")} ${x(end)},${wan.y(0)}` });
    el(wan.svg, "polyline", { class: "rate", points: pts.join(" ") });
  }

  // Progress; on top those that the server sent something.
  const wasRoot = new Set(d.devices.map((_, i) => i).filter(i => d.devices[i].origin > 0));
  const bad = v => v.state === "failed" || v.state === "not started";
  const prog = frame("progress", 100, "progress of each device over time", " %");
  const order = d.devices.map((_, i) => i).sort((a, b) => wasRoot.has(a) - wasRoot.has(b));
  for (const i of order) {
    const v = d.devices[i];
    const line = el(prog.svg, "polyline", {
      class: "dev" + (bad(v) ? " bad" : wasRoot.has(i) ? " root" : ""),
      points: d.times.map((t, k) => x(t).toFixed(1) + "," + prog.y(d.percent[k][i]).toFixed(1)).join(" "),
    });
    line.addEventListener("mousemove", ev => {
      line.classList.add("on");
      show(ev, v.address + "  " + v.state + (v.done ? " at " + v.done.toFixed(2) + " s" : ""));
    });
    line.addEventListener("mouseleave", () => { line.classList.remove("on"); hide(); });
  }

  // The tree of a moment: the last place of each device until then.
  function tree(t) {
    let k = 0;
    while (k + 1 < d.times.length && d.times[k + 1] <= t) k++;
    const at = d.devices.map((v, i) => ({ i, v, parent: -1, role: "", kids: [], percent: d.percent.length ? d.percent[k][i] : 0 }));
    for (const c of d.changes) {
      if (c.t_s > t) break;
      at[c.device].parent = c.parent;
      at[c.device].role = c.role;
    }
    const nets = [];
    for (let s = 1; s <= d.subnets; s++) nets.push({ s, tops: [], loose: [] });
    for (const n of at) {
      // A ring has no top: whoever is in one stands alone.
      let up = n, hops = 0;
      while (up.parent >= 0 && hops++ <= at.length) up = at[up.parent];
      if (n.parent >= 0 && hops <= at.length) at[n.parent].kids.push(n);
      else n.alone = true;
    }
    for (const n of at) {
      if (!n.alone) continue;
      const net = nets[n.v.subnet - 1];
      (n.kids.length || n.role === "root" ? net.tops : net.loose).push(n);
    }
    return nets;
  }
  const STEP = 46, ROW = 62;
  function place(n, depth, left) {
    n.depth = depth;
    if (!n.kids.length) { n.px = left; return left + STEP; }
    let r = left;
    for (const kid of n.kids) r = place(kid, depth + 1, r);
    n.px = (n.kids[0].px + n.kids[n.kids.length - 1].px) / 2;
    return r;
  }
  const box = document.getElementById("tree");
  // Room for the highest picture, so that the page stands still.
  let highest = 0;
  function drawTree(t) {
    const svg = el(null, "svg", {});
    // Subnets stand side by side as far as there is room, then below.
    let top = 26, left = 0, low = 26, wide = 300;
    for (const net of tree(t)) {
      const all = [];
      let deep = -1, right = 0;
      const gather = n => { all.push(n); deep = Math.max(deep, n.depth); n.kids.forEach(gather); };
      for (const n of net.tops) { right = place(n, 0, right); gather(n); }
      const base = deep + 1, per = Math.min(16, Math.max(4, Math.floor(right / STEP)));
      net.loose.forEach((n, i) => { n.px = (i % per) * STEP; n.depth = base + Math.floor(i / per); all.push(n); deep = Math.max(deep, n.depth); });
      const width = Math.max(right, Math.min(net.loose.length, per) * STEP, 90) + 40;
      if (left > 0 && left + width > W) { left = 0; top = low; }
      for (const n of all) { n.px += left + 34; n.py = top + 20 + n.depth * ROW; }
      if (d.subnets > 1) el(svg, "text", { class: "net", x: left + 14, y: top - 6 }, "subnet " + net.s);
      for (const n of all) for (const kid of n.kids)
        el(svg, "path", { class: "link", d: `M${n.px},${n.py + 12}C${n.px},${n.py + 38} ${kid.px},${kid.py - 38} ${kid.px},${kid.py - 12}` });
      for (const n of all) draw(svg, n);
      left += width;
      wide = Math.max(wide, left);
      low = Math.max(low, top + (deep + 1) * ROW + 34);
    }
    top = low;
    highest = Math.max(highest, top);
    const w = Math.max(wide, W - 20);
    svg.setAttribute("viewBox", `0 0 ${w} ${highest}`);
    svg.setAttribute("width", w);
    svg.setAttribute("height", highest);
    box.replaceChildren(svg);
  }
  function draw(svg, n) {
    const state = n.percent >= 100 ? "held" : n.role === "root" ? "root" : n.parent >= 0 ? "peer" : bad(n.v) && n.role ? "bad" : "";
    const g = el(svg, "g", { class: state });
    el(g, "circle", { class: "node", cx: n.px, cy: n.py, r: 12 });
    if (n.percent > 0) {
      // Filled from below up to the part that it has.
      const h = 1 - 2 * Math.min(n.percent, 100) / 100, w = Math.sqrt(Math.max(0, 1 - h * h));
      const big = n.percent > 50 ? 1 : 0;
      if (n.percent >= 100) el(g, "circle", { class: "fill", cx: n.px, cy: n.py, r: 9 });
      else el(g, "path", { class: "fill", d: `M${n.px - 9 * w},${n.py + 9 * h}A9,9 0 ${big} 0 ${n.px + 9 * w},${n.py + 9 * h}Z` });
    }
    el(g, "text", { class: "name", x: n.px, y: n.py + 25 }, n.v.address.split(".").slice(2).join("."));
    g.addEventListener("mousemove", ev => show(ev, n.v.address + "  " + (n.role || "no role yet") + "  " + n.percent + " %"));
    g.addEventListener("mouseleave", hide);
  }

  const slider = document.getElementById("moment"), when = document.getElementById("when");
  let now = 0;
  function set(t) {
    now = Math.max(0, Math.min(t, end));
    slider.value = Math.round(1000 * now / end);
    when.textContent = now.toFixed(2) + " s";
    for (const c of cursors) { c.setAttribute("x1", x(now)); c.setAttribute("x2", x(now)); }
    drawTree(now);
  }
  slider.addEventListener("input", () => set(end * slider.value / 1000));
  let timer = 0;
  const play = document.getElementById("play");
  play.addEventListener("click", () => {
    if (timer) { clearInterval(timer); timer = 0; play.textContent = "Play"; return; }
    if (now >= end) set(0);
    play.textContent = "Stop";
    timer = setInterval(() => {
      set(now + end / 150);
      if (now >= end) { clearInterval(timer); timer = 0; play.textContent = "Play"; }
    }, 80);
  });
  // The tree as it stood while most was on its way.
  const half = d.times.find((_, k) => d.percent[k].reduce((a, b) => a + b, 0) >= 50 * d.devices.length);
  set(half === undefined ? end / 2 : half);
})();
