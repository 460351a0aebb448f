// Behavior that pages gain with JavaScript. Without it every page still works; nothing here decides anything.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // <time-left due="ISO">: counts down between page loads. The server stays the clock.
  customElements.define("time-left", class extends HTMLElement {
    connectedCallback() {
      this.due = Date.parse(this.getAttribute("due"));
      if (!Number.isNaN(this.due)) this.timer = setInterval(() => this.show(), 1000);
    }
    disconnectedCallback() { clearInterval(this.timer); }
    show() {
      const seconds = Math.round((this.due - Date.now()) / 1000);
      const amount = Math.abs(seconds);
      const hours = Math.floor(amount / 3600);
      const minutes = Math.floor((amount % 3600) / 60);
      const words = hours ? `${hours} h ${minutes} min` : amount >= 60 ? `${minutes} min` : `${amount} s`;
      this.textContent = seconds < 0 ? `late by ${words}` : `${words} left`;
    }
  });

  // A payload field that differs from what the agent proposed is marked, and the main button says so.
  const fields = all("[data-proposed]");
  const countEdits = () => {
    const edited = fields.filter((field) => field.value !== field.dataset.proposed);
    for (const field of fields) field.classList.toggle("changed", edited.includes(field));
    for (const note of all("[data-edit-count]")) {
      note.textContent = edited.length ? `You changed ${edited.length} field${edited.length === 1 ? "" : "s"}` : "";
    }
    for (const label of all("[data-approve-label]")) label.textContent = edited.length ? "Approve with edit" : "Approve";
  };
  for (const field of fields) field.addEventListener("input", countEdits);
  if (fields.length) countEdits();

  // <button data-copy="id" hidden>: puts the text of that element into the clipboard. Without JavaScript it stays hidden.
  for (const button of navigator.clipboard ? all("[data-copy]") : []) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.querySelector("[data-said]").textContent = "Copied";
    });
  }

  // Keys: J and K walk a list, letters press the control that names them. Never while typing (WCAG 2.1.4).
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    const control = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (control) {
      event.preventDefault();
      control.matches("input, textarea") ? control.focus() : control.click();
      return;
    }
    const step = { j: 1, k: -1 }[event.key];
    const rows = step ? all("[data-list] a.row, [data-list] tbody a") : [];
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    rows[Math.max(0, Math.min(rows.length - 1, at + step))].focus();
  });
})();
