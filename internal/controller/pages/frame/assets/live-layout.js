// Lays out the tree of a file beside the page, which draws meanwhile. A string is where
// d3-hierarchy is. An array has each node's parent by its index, -1 for the root, which is
// first; the answer has where each stands, from 0 to 1, how many are in its level, and in
// the widest.
"use strict";
addEventListener("message", ({ data }) => {
  if (typeof data === "string") {
    importScripts(data);
    return;
  }
  const nodes = Array.from(data, (_, i) => ({ i, children: [] }));
  data.forEach((up, i) => { if (up >= 0) nodes[up].children.push(nodes[i]); });
  const top = d3.tree().size([1, 1])(d3.hierarchy(nodes[0]));
  const x = new Float64Array(nodes.length), y = new Float64Array(nodes.length), beside = new Int32Array(nodes.length);
  const levels = Array(top.height + 1).fill(0);
  top.each((h) => { levels[h.depth]++; });
  top.each((h) => {
    x[h.data.i] = h.x;
    y[h.data.i] = top.height ? h.y : 0.5;
    beside[h.data.i] = levels[h.depth];
  });
  postMessage({ x, y, beside, widest: Math.max(...levels) }, [x.buffer, y.buffer, beside.buffer]);
});
