// Graphs as pictures: boxes in layers, from left to right or from top to bottom, and the lines between them.

import { s } from "./dom.js";

/** Where each node is, and the lines; one that passes a row has a lane of its own in it. `down` sets rows of as many boxes as have room. */
export function laid({ nodes, edges }, { wide, high, gap, down, room }) {
  const [along, across] = down ? [high, wide] : [wide, high];
  const most = down ? Math.max(1, Math.floor((room + 16) / (wide + 16))) : nodes.length;
  const rows = [];
  const cell = (row, size) => { const made = { row, size, before: [] }; (rows[row] ??= []).push(made); return made; };
  const cells = new Map();
  for (let layer = 0, left = nodes; left.length; layer += 1) {
    const here = left.filter((node) => node.layer === layer);
    left = left.filter((node) => node.layer !== layer);
    const first = rows.length;
    here.forEach(({ name }, place) => cells.set(name, cell(first + Math.floor(place / most), across)));
  }
  const ways = edges.map(({ from, to, kind }) => {
    const [a, b] = [cells.get(from), cells.get(to)];
    const way = [a, ...Array.from({ length: b.row - a.row - 1 }, (_, place) => cell(a.row + 1 + place, 2)), b];
    way.slice(1).forEach((one, place) => one.before.push(way[place]));
    return { way, kind };
  });
  const apart = (one, other) => (one ? (one.size + other.size < 2 * across ? 9 : 16) : 0);
  const whole = Math.max(...rows.map((row) => row.reduce((sum, one, place) => sum + one.size + apart(row[place - 1], one), 0)));
  for (const row of rows) {
    for (const one of row) one.wish = one.before.length ? one.before.reduce((sum, other) => sum + other.middle, 0) / one.before.length : whole / 2;
    row.sort((a, b) => a.wish - b.wish);
    row.forEach((one, place) => { const last = row[place - 1]; one.at = Math.max(last ? last.at + last.size + apart(last, one) : 0, one.wish - one.size / 2); });
    row.reverse().forEach((one, place) => { const next = row[place - 1]; one.at = Math.min(one.at, (next ? next.at - apart(next, one) : whole) - one.size); one.middle = one.at + one.size / 2; });
  }
  const start = (one) => one.row * (along + gap);
  const point = (main, at) => (down ? `${at + 4} ${main + 4}` : `${main + 4} ${at + 4}`);
  for (const one of cells.values()) [one.x, one.y] = down ? [one.at + 4, start(one) + 4] : [start(one) + 4, one.at + 4];
  const lines = ways.map(({ way, kind }) => {
    const path = way.slice(1).map((one, place) => {
      const [last, from, to] = [way[place], start(way[place]) + along, start(one)];
      return `${place ? "L" : "M"}${point(from, last.middle)}C${point(from + gap / 2, last.middle)} ${point(to - gap / 2, one.middle)} ${point(one.size > 2 ? to - 5 : to, one.middle)}`;
    });
    const end = way.at(-1);
    const tip = [[-1, 0], [-8, -4], [-8, 4]].map(([back, aside]) => point(start(end) + back, end.middle + aside));
    return [s("path", { class: kind, d: path.join("") }), s("path", { class: "tip", d: `M${tip.join("L")}z` })];
  });
  const length = rows.length * (along + gap) - gap + 8;
  return { cells, lines, ...(down ? { width: whole + 8, height: length } : { width: length, height: whole + 8 }) };
}

export const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
