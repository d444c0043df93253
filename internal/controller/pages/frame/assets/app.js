// What the pages cannot say in HTML. Every page works without it.
"use strict";
document.addEventListener("change", (e) => {
  const all = e.target.closest("[data-all]");
  if (all) {
    for (const box of document.querySelectorAll(`input[name="${all.dataset.all}"]`)) box.checked = all.checked;
  }
});
document.addEventListener("dragover", (e) => {
  if (e.target.closest("[data-drop]")) e.preventDefault();
});
document.addEventListener("drop", (e) => {
  const zone = e.target.closest("[data-drop]");
  if (!zone) return;
  e.preventDefault();
  const input = zone.querySelector("input[type=file]");
  if (input && e.dataTransfer.files.length) input.files = e.dataTransfer.files;
});
