// Numbers with units, as view.style writes them.

const digitsOf = (value, count) => String(Number(value.toPrecision(count)));

export function secondsText(seconds) {
  for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["us", 1e-6], ["ns", 1e-9]]) {
    if (Math.abs(seconds) >= size) return `${digitsOf(seconds / size, 4)} ${unit}`;
  }
  return seconds ? `${digitsOf(seconds, 3)} s` : "0 s";
}

export function bytesText(nbytes) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (nbytes >= size) return `${nbytes < 1000 * size ? digitsOf(nbytes / size, 3) : Math.round(nbytes / size)} ${unit}`;
  }
  return `${nbytes} B`;
}

export const countText = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
export const shareText = (share) => `${digitsOf(100 * share, 3)} %`;

// Round numbers in [low, high], about `count` of them.
export function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = [1, 2, 5, 10].map((m) => m * power).find((size) => (high - low) / size <= count);
  const made = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) made.push(i * step);
  return made;
}
