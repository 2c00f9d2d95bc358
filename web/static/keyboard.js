// Keyboard shortcuts.

const TYPED_IN = "input:not([type=checkbox], [type=radio], [type=range], [type=button]), textarea, select, [contenteditable]";

const MOVED_IN = "input[type=range], input[type=radio], [role=slider], [role=tab], video, audio";
const MOVES = /^(Arrow|Home|End|Page)/;

/**
 * Call a function per key: `shortcuts(document, { ArrowLeft: before, "Ctrl+z": undo, "?": help })`.
 *
 * A key is written as in KeyboardEvent.key, with Ctrl+ (or Command on a Mac), Alt+ and Shift+ before
 * it; Shift is left away where it makes another sign ("?"). Keys of a field that is typed in, and
 * arrows of a slider, are left to it. Returns a function that removes the shortcuts.
 */
export function shortcuts(target, actions, { when = () => true } = {}) {
  const pressed = (event) => {
    if (event.defaultPrevented || event.isComposing || !when(event)) return;
    const { target: from, key } = event;
    if (from.closest?.(TYPED_IN) || (MOVES.test(key) && from.closest?.(MOVED_IN))) return;
    const action = actions[nameOf(event)];
    if (!action) return;
    event.preventDefault();
    action(event);
  };
  target.addEventListener("keydown", pressed);
  return () => target.removeEventListener("keydown", pressed);
}

function nameOf({ key, ctrlKey, metaKey, altKey, shiftKey }) {
  const isSign = key.length === 1 && !/[a-z]/i.test(key) && key !== " ";
  const parts = [ctrlKey || metaKey ? "Ctrl" : "", altKey ? "Alt" : "", shiftKey && !isSign ? "Shift" : ""];
  return [...parts.filter(Boolean), key.length === 1 ? key.toLowerCase() : key].join("+");
}
