"use strict";
(function () {
  const sites = JSON.parse(document.getElementById("data").textContent);
  // Two panels beside each other, with one line for each way and site: names,
  // how often the bound, copies over the WAN.
  const W = 1040, TOP = 44, BAR = 11, GAP = 12, BOTTOM = 26;
  const panels = [
    { head: "last device / bound", one: "the bound", value: r => r.ratio, text: r => r.ratioText, left: 250, right: 610 },
    { head: "copies over the WAN", one: "one copy", value: r => r.wan, text: r => r.wanText, left: 692, right: 990 },
  ];
  // The axes are logarithmic and start below 1, so that 1 has a length.
  const LEAST = 0.8;

  function bars(box, site) {
    const height = TOP + BOTTOM + site.ways.reduce((h, w) => h + w.rows.length * BAR + GAP, 0);
    const svg = el(box, "svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": site.name + ": last device over bound, and copies over the WAN" });
    for (const p of panels) {
      const most = Math.max(10, ...site.ways.flatMap(w => w.rows.map(r => r.failed ? 0 : p.value(r))));
      p.x = v => p.left + (p.right - p.left) * Math.log(Math.max(v, LEAST) / LEAST) / Math.log(most * 1.15 / LEAST);
      el(svg, "text", { class: "head", x: p.left, y: 16 }, p.head);
      for (const v of [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].filter(v => v <= most * 1.15)) {
        if (v > 1) el(svg, "line", { class: "grid", x1: p.x(v), x2: p.x(v), y1: TOP - 6, y2: height - BOTTOM });
        el(svg, "text", { x: p.x(v), y: height - 9, "text-anchor": "middle" }, v);
      }
    }
    let y = TOP;
    for (const w of site.ways) {
      const g = el(svg, "g", { class: w.ours ? "ours" : "" });
      el(g, "text", { class: "way", x: 12, y: y + w.rows.length * BAR / 2 + 4 }, w.name);
      for (const r of w.rows) {
        row(g, r, y);
        y += BAR;
      }
      y += GAP;
    }
    for (const p of panels) {
      el(svg, "line", { class: "one", x1: p.x(1), x2: p.x(1), y1: TOP - 8, y2: height - BOTTOM });
      el(svg, "text", { class: "onename", x: p.x(1), y: TOP - 12 }, p.one);
    }
  }

  function row(parent, r, y) {
    const g = el(parent, "g", { class: "row" });
    el(g, "rect", { class: "hit", x: 0, y: y - 0.5, width: W, height: BAR });
    for (const p of panels) {
      el(g, "text", { class: "count", x: p.left - 6, y: y + 8 }, r.devices);
      if (r.failed) {
        el(g, "text", { class: "value gone", x: p.x(1) + 5, y: y + 8.5 }, "failed");
        continue;
      }
      const end = p.x(p.value(r));
      el(g, "rect", { class: "bar" + (r.computed ? " sum" : ""), x: p.left, y, width: Math.max(1, end - p.left), height: BAR - 2 });
      el(g, "text", { class: "value", x: end + 5, y: y + 8.5 }, p.text(r));
    }
    g.addEventListener("mousemove", ev => show(ev, r.tip));
    g.addEventListener("mouseleave", hide);
  }

  for (const box of document.querySelectorAll(".bars")) bars(box, sites[box.dataset.site]);
})();
