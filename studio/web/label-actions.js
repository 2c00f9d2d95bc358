// Actions on the chosen pictures, and their keys.

import { fail } from "./store.js";
import { LEFT_OUT } from "./words.js";

export const MAX_DIGIT = 9; // classes that have a key

/** Actions on the chosen pictures. */
export function acting({ grid, labelling }, { project, autoAdvance, setDialog, again }) {
  const after = async (work) => {
    try {
      const { targets } = grid;
      if (!targets.length) return;
      const single = grid.chosen.size < 2;
      const inViewer = document.querySelector("dialog[open].viewer");
      if (single && !inViewer && !grid.showsActive) {
        grid.move(grid.active); // scrolled away: nobody decides about a picture out of sight
        return;
      }
      const working = work(targets);
      if (autoAdvance && single && !inViewer) grid.advance();
      else if (autoAdvance && inViewer) grid.move(grid.active + 1);
      else if (!single) grid.chooseNone();
      again();
      await working;
    } catch (error) {
      fail(error);
    }
  };
  const moved = (act) => async () => {
    try {
      const ids = await act();
      if (ids?.length) grid.find(ids[0]);
      again();
    } catch (error) {
      fail(error);
    }
  };
  return {
    decide: (label) => after((targets) => labelling.decide(targets, label)),
    confirm: () => after((targets) => labelling.confirm(targets)),
    leaveOut: () => after((targets) => labelling.decide(targets, LEFT_OUT)),
    undo: moved(() => labelling.undo()),
    redo: moved(() => labelling.redo()),
    move: (by, extend) => grid.move(grid.active + by, { extend }),
    first: (extend) => grid.move(0, { extend }),
    last: (extend) => grid.move(grid.ids.length - 1, { extend }),
    row: (by, extend) => grid.move(grid.active + by * grid.columns, { extend }),
    page: (by, extend) => grid.move(grid.active + by * grid.columns * grid.pageRows, { extend }),
    toggle: () => grid.active >= 0 && grid.toggle(grid.active),
    all: () => grid.chooseAll(),
    none: () => grid.chooseNone(),
    open: () => grid.active >= 0 && setDialog({ kind: "viewer" }),
    help: () => setDialog({ kind: "help" }),
    newClass: () => setDialog({ kind: "class" }),
    group: () => setDialog({ kind: "group" }),
    project,
  };
}

/** Return the keys of the grid; the viewer has the same for all but moving. */
export function keys(actions, project) {
  const map = {
    Enter: actions.confirm,
    x: actions.leaveOut,
    0: () => actions.decide(null),
    u: actions.undo,
    "Ctrl+z": actions.undo,
    "Shift+u": actions.redo,
    "Ctrl+y": actions.redo,
    "Ctrl+Shift+z": actions.redo,
    n: actions.newClass,
    g: actions.group,
    o: actions.open,
    " ": actions.toggle,
    "Ctrl+a": actions.all,
    Escape: actions.none,
    "?": actions.help,
  };
  for (const [key, move] of [["ArrowLeft", (extend) => actions.move(-1, extend)], ["ArrowRight", (extend) => actions.move(1, extend)], ["ArrowUp", (extend) => actions.row(-1, extend)], ["ArrowDown", (extend) => actions.row(1, extend)], ["PageUp", (extend) => actions.page(-1, extend)], ["PageDown", (extend) => actions.page(1, extend)], ["Home", actions.first], ["End", actions.last]]) {
    map[key] = () => move(false);
    map[`Shift+${key}`] = () => move(true);
  }
  project.classes.slice(0, MAX_DIGIT).forEach(({ name }, index) => (map[index + 1] = () => actions.decide(name)));
  return map;
}
