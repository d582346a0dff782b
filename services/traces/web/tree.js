// The spans of a trace as a tree, of which branches can be closed.

const MANY = 120;

/** Depth first, siblings by their begin; a span without a parent here hangs under the first. */
export function planted(spans) {
  const known = new Set(spans.map((span) => span.span_id));
  const below = new Map();
  spans.slice(1).forEach((span) => {
    const parent = known.has(span.parent_id) && span.parent_id !== span.span_id ? span.parent_id : spans[0].span_id;
    below.has(parent) ? below.get(parent).push(span) : below.set(parent, [span]);
  });
  const nodes = [];
  const stack = [{ span: spans[0], depth: 0, parent: null }];
  while (stack.length) {
    const node = stack.pop();
    const children = below.get(node.span.span_id) ?? [];
    below.delete(node.span.span_id);
    nodes.push({ ...node, id: node.span.span_id, children: children.length });
    const inner = children.map((span) => ({ span, depth: node.depth + 1, parent: node.span.span_id }));
    stack.push(...inner.sort((one, other) => Number(other.span.start_ns) - Number(one.span.start_ns)));
  }
  return nodes;
}

/** What is better closed at first: in a large trace, branches that the critical path does not run through. */
export function closedAtFirst(nodes) {
  if (nodes.length <= MANY) return new Set();
  const critical = new Set();
  for (const node of nodes.toReversed())
    if (Number(node.span.critical_ns) || critical.has(node.id)) critical.add(node.id).add(node.parent);
  return new Set(nodes.filter((node) => node.children && !critical.has(node.id)).map((node) => node.id));
}

/** The nodes that are seen, and for every node the seen one that stands for it. */
export function seen(nodes, closed) {
  const standing = new Map();
  const shown = [];
  for (const node of nodes) {
    const above = node.parent === null ? null : standing.get(node.parent);
    const hidden = above && (above !== node.parent || closed.has(above));
    standing.set(node.id, hidden ? above : node.id);
    if (!hidden) shown.push(node);
  }
  return { shown, standing };
}
