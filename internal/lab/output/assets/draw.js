"use strict";
// What the pages of the lab draw with.
const tip = document.getElementById("tip");
const NS = "http://www.w3.org/2000/svg";

function el(parent, name, attrs, text) {
  const e = document.createElementNS(NS, name);
  for (const k in attrs) e.setAttribute(k, attrs[k]);
  if (text !== undefined) e.textContent = text;
  if (parent) parent.appendChild(e);
  return e;
}
function show(ev, text) {
  tip.hidden = false;
  tip.textContent = text;
  const w = tip.offsetWidth;
  tip.style.left = Math.max(4, Math.min(ev.clientX + 12, innerWidth - w - 8)) + "px";
  tip.style.top = (ev.clientY + 14) + "px";
}
const hide = () => { tip.hidden = true; };
