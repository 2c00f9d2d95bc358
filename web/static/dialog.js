// Dialogs: opened as modal ones, closed by Escape, by a click beside them, and by [data-close].

import { button, element } from "./dom.js";

let made = 0;

/** Open a <dialog>; resolve with its return value once it is closed. Focus returns by itself. */
export function open(dialog) {
  const beside = (event) => event.target === dialog && isOutside(dialog, event) && dialog.close();
  const close = (event) => event.target.closest("[data-close]") && dialog.close(event.target.closest("[data-close]").value);
  dialog.addEventListener("pointerdown", beside);
  dialog.addEventListener("click", close);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        dialog.removeEventListener("pointerdown", beside);
        dialog.removeEventListener("click", close);
        resolve(dialog.returnValue);
      },
      { once: true },
    );
  });
}

/** Ask before an action that cannot be undone; resolve with true if it was confirmed. */
export async function confirmed({ title, text, action }) {
  const id = `dialog-${(made += 1)}`;
  const dialog = element(
    "dialog",
    { "aria-labelledby": id },
    element("h2", { id, text: title }),
    element("p", { text }),
    element(
      "div",
      { class: "buttons end" },
      element("button", { type: "button", text: "Cancel", "data-close": true, value: "" }),
      element("button", { type: "button", class: "danger", text: action, "data-close": true, value: "yes" }),
    ),
  );
  document.body.append(dialog);
  const answer = await open(dialog);
  dialog.remove();
  return answer === "yes";
}

const TOAST_S = 12;
let shown = null;

/**
 * Show a short message at the bottom, with one action such as Undo; the next one replaces it.
 *
 * It goes after some seconds, never while the pointer or the focus is on it. Then, or when it is
 * closed or replaced, `onend` is called; after the action, `onaction` instead. Returns a function
 * that closes it; with `{ taken: true }`, as the action does.
 */
export function toast(text, { action = "", onaction = () => {}, onend = () => {}, seconds = TOAST_S } = {}) {
  shown?.();
  const root = element("div", { class: "toast", role: "status" });
  document.body.append(root); // first the region, then its text: screen readers announce changes
  root.append(element("p", { text }));
  let timer = 0;
  const remove = () => {
    clearTimeout(timer);
    root.remove();
    shown = null;
  };
  const gone = ({ taken = false } = {}) => {
    remove();
    if (!taken) onend();
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => (root.matches(":hover, :focus-within") ? wait() : gone()), 1000 * seconds);
  };
  if (action) {
    root.append(
      button(action, () => {
        remove();
        onaction();
      }),
    );
  }
  root.append(button("×", () => gone(), { class: "plain", "aria-label": "Close this message" }));
  shown = gone;
  wait();
  return gone;
}

function isOutside(dialog, { clientX: x, clientY: y }) {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return x < left || x > right || y < top || y > bottom;
}
