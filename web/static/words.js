// Numbers, times and lists as texts, in English.

/** 0.978 -> "97.8%"; never 100 or 0 unless it is. */
export function percent(share) {
  const value = 100 * share;
  if (value > 99.9 && value < 100) return "> 99.9%";
  if (value < 0.1 && value > 0) return "< 0.1%";
  return `${value.toFixed(Number.isInteger(value) ? 0 : 1)}%`;
}

/** Return a number and its noun: "1 picture", "1,200 pictures". */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Return a list as a text: "a, b, and c"; beyond `max` names the number of the others. */
export function listed(names, max = Infinity) {
  const shown = names.length > max ? [...names.slice(0, max - 1), `${names.length - max + 1} more`] : names;
  return new Intl.ListFormat("en").format(shown);
}

/** Return a duration as one rounded text: "40 s", "3 min", "2 h 10 min". */
export function duration(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(seconds < 1 ? 1 : 0)} s`;
  if (seconds < 90) return `${Math.round(seconds / 5) * 5} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
}

/** Return a number of bytes: "512 bytes", "1.2 MB". */
export function bytes(number) {
  if (number < 1000) return count(number, "byte");
  const units = ["kB", "MB", "GB", "TB"];
  let value = number / 1000;
  while (value >= 999.5 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return `${value.toFixed(value < 9.95 ? 1 : 0)} ${units[0]}`;
}

/** Return a time in the reader's time zone: "26 November 2026, 03:55" or, today, "03:55". */
export function when(iso, now = new Date()) {
  const time = new Date(iso);
  const clock = time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (time.toDateString() === now.toDateString()) return clock;
  return `${time.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" })}, ${clock}`;
}
