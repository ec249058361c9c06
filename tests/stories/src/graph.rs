//! An undirected graph of which hosts have heard of which.

pub struct Graph {
    neighbours: Vec<Vec<u32>>,
}

impl Graph {
    /// Creates a graph of `nodes` nodes without edges.
    pub fn new(nodes: usize) -> Self {
        Self { neighbours: vec![Vec::new(); nodes] }
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        self.neighbours[a].push(b as u32);
        self.neighbours[b].push(a as u32);
    }

    /// Returns the number of connected components.
    pub fn components(&self) -> usize {
        let mut seen = vec![false; self.neighbours.len()];
        let mut components = 0;
        for start in 0..seen.len() {
            if std::mem::replace(&mut seen[start], true) {
                continue;
            }
            components += 1;
            let mut open = vec![start as u32];
            while let Some(node) = open.pop() {
                for &next in &self.neighbours[node as usize] {
                    if !std::mem::replace(&mut seen[next as usize], true) {
                        open.push(next);
                    }
                }
            }
        }
        components
    }

    /// Returns the length of the longest shortest path between two connected nodes.
    pub fn diameter(&self) -> u32 {
        // Breadth first from 64 nodes at once, one bit each.
        let nodes = self.neighbours.len();
        let starts: Vec<usize> = (0..nodes).collect();
        let steps = starts.chunks(64).map(|starts| {
            let mut reached = vec![0_u64; nodes];
            for (bit, &start) in starts.iter().enumerate() {
                reached[start] = 1 << bit;
            }
            let mut newly = reached.clone();
            let mut steps = 0;
            loop {
                let mut next = vec![0; nodes];
                for (node, bits) in newly.iter().enumerate().filter(|(_, bits)| **bits != 0) {
                    for &neighbour in &self.neighbours[node] {
                        next[neighbour as usize] |= bits;
                    }
                }
                let mut any = false;
                for (next, reached) in next.iter_mut().zip(&mut reached) {
                    *next &= !*reached;
                    *reached |= *next;
                    any |= *next != 0;
                }
                if !any {
                    return steps;
                }
                steps += 1;
                newly = next;
            }
        });
        steps.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: usize, edges: impl IntoIterator<Item = (usize, usize)>) -> Graph {
        let mut graph = Graph::new(nodes);
        edges.into_iter().for_each(|(a, b)| graph.connect(a, b));
        graph
    }

    #[test]
    fn components_and_diameter_of_known_graphs() {
        let path = |nodes: usize| graph(nodes, (1..nodes).map(|node| (node - 1, node)));
        let ring = |nodes: usize| graph(nodes, (0..nodes).map(|node| (node, (node + 1) % nodes)));
        for (graph, components, diameter) in [
            (graph(0, []), 0, 0),
            (graph(3, []), 3, 0),
            (graph(4, [(0, 1), (0, 1), (2, 3)]), 2, 1),
            (path(200), 1, 199),
            (ring(200), 1, 100),
            (graph(130, (1..130).map(|node| (0, node))), 1, 2),
        ] {
            assert_eq!((graph.components(), graph.diameter()), (components, diameter));
        }
    }
}
