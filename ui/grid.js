// What grids of picture buttons share: one tile at a time is in the tab order, and the arrow keys move from it.
function focusable(grid, tile) {
  for (const other of grid.children) other.tabIndex = other === tile ? 0 : -1
}

function neighbour(grid, from, key) {
  const tiles = [...grid.children]
  const columns = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length
  const place = tiles.indexOf(from)
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }
  if (key in steps) return tiles[place + steps[key]]
  return { Home: tiles[0], End: tiles.at(-1) }[key]
}

