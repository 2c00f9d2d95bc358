"use strict";
// Opens folded lists for printing, and saves decisions on label issues as labels.csv.
(() => {
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const list of folded) list.open = true;
  });
  addEventListener("afterprint", () => {
    for (const list of folded) list.open = false;
  });

  const section = document.getElementById("label-issues");
  if (!section) return;
  const count = document.getElementById("labels-count");
  const text = document.getElementById("labels-text");
  const save = document.getElementById("labels-save");
  const kept = JSON.parse(document.getElementById("labels-kept").content.textContent);
  for (const part of section.querySelectorAll(".with-script")) part.hidden = false;
  document.getElementById("labels-without").hidden = true;

  const cell = (value) =>
    /^[\s#]|[",;|\t\r\n]|\s$/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;

  const update = () => {
    const chosen = [...section.querySelectorAll("input:checked")].filter((one) => one.value);
    const rows = new Map(kept);
    for (const one of chosen) rows.set(one.closest("li").dataset.file, one.value);
    const lines = [...rows].map((row) => row.map(cell).join(","));
    text.value = ["file,label", ...lines, ""].join("\n");
    save.disabled = chosen.length === 0;
    const all = section.querySelectorAll("li[data-file]").length;
    count.textContent = `${chosen.length} of ${all} decided.`;
  };

  section.addEventListener("change", update);
  save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text.value], { type: "text/csv" }));
    link.download = "labels.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
  update();
})();
