//! The overlay as a graph: distances, clustering, what holds it together.

use petgraph::Undirected;
use petgraph::algo::articulation_points::articulation_points;
use petgraph::csr::Csr;
use petgraph::unionfind::UnionFind;

use super::GraphMetrics;

/// Links that the search for paths may look at, and the clustering too: enough for exact figures of
/// 5,000 members with 16 links each. A second of work there, some fifteen among a million members.
const BUDGET: u64 = 500_000_000;

impl GraphMetrics {
    /// Measures a graph of the members 0 to `nodes - 1`, joined by undirected `links`. Loops and
    /// repeated links count as none and one.
    ///
    /// Paths and clustering are exact up to some 5,000 members with 16 links each; beyond, they are
    /// measured from an even sample of the members, as [`Self::path_sources`] and
    /// [`Self::clustering_sources`] say. The other figures are always exact.
    ///
    /// # Panics
    /// If a link names a member that there is not.
    #[must_use]
    pub fn measure(time_s: f64, nodes: u32, links: impl IntoIterator<Item = (u32, u32)>) -> Self {
        measure(time_s, nodes, links, BUDGET)
    }
}

fn measure(
    time_s: f64,
    nodes: u32,
    links: impl IntoIterator<Item = (u32, u32)>,
    budget: u64,
) -> GraphMetrics {
    let graph = Graph::new(nodes, links);
    let mut metrics = GraphMetrics {
        time_s,
        nodes: u64::from(nodes),
        ..GraphMetrics::default()
    };
    for node in 0..nodes {
        metrics.degree.record(graph.neighbours(node).len() as u64);
    }
    metrics.edges = metrics.degree.sum() / 2;
    let components = graph.components();
    for &size in &components.sizes {
        metrics.components += u64::from(size > 0);
        metrics.largest_component = metrics.largest_component.max(u64::from(size));
    }
    graph.measure_paths(&components, budget, &mut metrics);
    graph.measure_clustering(budget, &mut metrics);
    // Only how many there are: a hash set's order shows nowhere.
    metrics.cut_points = articulation_points(&graph.0).len() as u64;
    metrics
}

/// The links of each member in one array, sorted.
struct Graph(Csr<(), (), Undirected, u32>);

/// Which component each member is in.
struct Components {
    /// For each member, one member of its component that stands for it.
    of: Vec<u32>,
    /// The number of members of the component that a member stands for, else 0.
    sizes: Vec<u32>,
}

impl Graph {
    fn new(nodes: u32, links: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut edges: Vec<(u32, u32)> = links
            .into_iter()
            .filter(|(from, to)| from != to)
            .flat_map(|(from, to)| [(from, to), (to, from)])
            .collect();
        assert!(
            edges.iter().all(|&(from, _)| from < nodes),
            "a link to a member that there is not"
        );
        edges.sort_unstable();
        edges.dedup();
        // Sorted, without repeats and in both directions: nothing to refuse.
        let mut csr = Csr::from_sorted_edges(&edges).unwrap_or_default();
        while csr.node_count() < nodes as usize {
            csr.add_node(());
        }
        Self(csr)
    }

    fn nodes(&self) -> u32 {
        self.0.node_count() as u32
    }

    fn neighbours(&self, node: u32) -> &[u32] {
        self.0.neighbors_slice(node)
    }

    fn components(&self) -> Components {
        let mut sets = UnionFind::<u32>::new(self.0.node_count());
        for node in 0..self.nodes() {
            for &other in self.neighbours(node) {
                sets.union(node, other);
            }
        }
        let of = sets.into_labeling();
        let mut sizes = vec![0; of.len()];
        for &label in &of {
            sizes[label as usize] += 1;
        }
        Components { of, sizes }
    }

    /// Breadth-first searches from one member after another.
    fn measure_paths(&self, components: &Components, budget: u64, metrics: &mut GraphMetrics) {
        let mut search = Search::new(self.nodes());
        let (mut pairs, mut length) = (0u64, 0u64);
        let mut farthest = None;
        for source in evenly(self.nodes()) {
            if search.looked_at >= budget {
                break;
            }
            let size = components.sizes[components.of[source as usize] as usize];
            let (last, distance) = search.run(self, source, size);
            metrics.path_sources += 1;
            pairs += u64::from(size - 1);
            length += search.length;
            if distance > metrics.diameter {
                metrics.diameter = distance;
                farthest = Some((last, size));
            }
        }
        if let (false, Some((source, size))) = (metrics.is_exact(), farthest) {
            // What is farthest from one end of a long path is often farther still.
            let (_, distance) = search.run(self, source, size);
            metrics.diameter = metrics.diameter.max(distance);
        }
        metrics.mean_path = (pairs > 0).then(|| length as f64 / pairs as f64);
    }

    fn measure_clustering(&self, budget: u64, metrics: &mut GraphMetrics) {
        // The member whose neighbours are marked, for each member.
        let mut marked_by = vec![u32::MAX; self.0.node_count()];
        let (mut total, mut looked_at) = (0.0, 0);
        for node in evenly(self.nodes()) {
            if looked_at >= budget {
                break;
            }
            metrics.clustering_sources += 1;
            let neighbours = self.neighbours(node);
            if neighbours.len() < 2 {
                continue;
            }
            for &neighbour in neighbours {
                marked_by[neighbour as usize] = node;
            }
            let mut linked = 0u64;
            for &neighbour in neighbours {
                let theirs = self.neighbours(neighbour);
                looked_at += theirs.len() as u64;
                linked += theirs
                    .iter()
                    .filter(|&&other| marked_by[other as usize] == node)
                    .count() as u64;
            }
            let count = neighbours.len() as u64;
            total += linked as f64 / (count * (count - 1)) as f64;
        }
        if metrics.clustering_sources > 0 {
            metrics.clustering = total / metrics.clustering_sources as f64;
        }
    }
}

/// A breadth-first search, its memory used again for the next one.
struct Search {
    distances: Vec<u32>,
    queue: Vec<u32>,
    /// The sum of the distances of the last search.
    length: u64,
    /// Links that all searches together have looked at.
    looked_at: u64,
}

impl Search {
    fn new(nodes: u32) -> Self {
        Self {
            distances: vec![u32::MAX; nodes as usize],
            queue: Vec::new(),
            length: 0,
            looked_at: 0,
        }
    }

    /// Finds the distances from one member to all `size` of its component. Returns the one found
    /// last and how far it is.
    fn run(&mut self, graph: &Graph, source: u32, size: u32) -> (u32, u64) {
        self.length = 0;
        self.distances.fill(u32::MAX);
        self.distances[source as usize] = 0;
        self.queue.clear();
        self.queue.push(source);
        let mut next = 0;
        // Once everybody is found, what is left in the queue finds nobody.
        while next < self.queue.len() && self.queue.len() < size as usize {
            let node = self.queue[next];
            next += 1;
            let distance = self.distances[node as usize] + 1;
            let neighbours = graph.neighbours(node);
            self.looked_at += neighbours.len() as u64;
            for &neighbour in neighbours {
                let known = &mut self.distances[neighbour as usize];
                if *known == u32::MAX {
                    *known = distance;
                    self.length += u64::from(distance);
                    self.queue.push(neighbour);
                }
            }
        }
        self.looked_at += 1;
        let last = self.queue.last().copied().unwrap_or(source);
        (last, u64::from(self.distances[last as usize]))
    }
}

/// All of 0 to `count - 1`, in an order of which every beginning is spread evenly: in steps of the
/// golden ratio.
fn evenly(count: u32) -> impl Iterator<Item = u32> {
    let count = u64::from(count);
    let mut step = (count as f64 * 0.618_033_988_75) as u64;
    while step > 1 && gcd(step, count) > 1 {
        step -= 1;
    }
    (0..count).map(move |index| (index * step.max(1) % count) as u32)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::super::Distribution;
    use super::{GraphMetrics, evenly, measure};
    use crate::random::{Concern, Stream};

    fn metrics(nodes: u32, links: &[(u32, u32)]) -> GraphMetrics {
        GraphMetrics::measure(0.0, nodes, links.iter().copied())
    }

    fn ring(nodes: u32) -> Vec<(u32, u32)> {
        (0..nodes).map(|node| (node, (node + 1) % nodes)).collect()
    }

    fn near(measured: f64, wanted: f64) {
        assert!(
            (measured - wanted).abs() < 1e-9,
            "{measured} is not {wanted}"
        );
    }

    #[test]
    fn a_ring() {
        for nodes in [5, 6, 101] {
            let found = metrics(nodes, &ring(nodes));
            let count = u64::from(nodes);
            assert_eq!(
                (found.nodes, found.edges, found.diameter),
                (count, count, count / 2)
            );
            // The distances from one member: each of 1 to (n-1)/2 twice, and n/2 once if even.
            let length: u64 = (1..count).map(|step| step.min(count - step)).sum();
            near(found.mean_path.unwrap(), length as f64 / (count - 1) as f64);
            assert_eq!(
                (found.components, found.largest_component, found.cut_points),
                (1, count, 0)
            );
            near(found.clustering, 0.0);
            assert_eq!((found.degree.min(), found.degree.max()), (Some(2), Some(2)));
            assert!(found.is_exact());
        }
    }

    #[test]
    fn a_star() {
        let links: Vec<_> = (1..50).map(|leaf| (0, leaf)).collect();
        let found = metrics(50, &links);
        assert_eq!(
            (found.diameter, found.cut_points, found.components),
            (2, 1, 1)
        );
        // From the hub 49 of 1; from each of 49 leaves one of 1 and 48 of 2.
        near(
            found.mean_path.unwrap(),
            (49.0 + 49.0 * 97.0) / (50.0 * 49.0),
        );
        near(found.clustering, 0.0);
        assert_eq!(found.degree.max(), Some(49));
    }

    #[test]
    fn a_complete_graph() {
        let links: Vec<_> = (0..20).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
        let found = metrics(20, &links);
        assert_eq!((found.edges, found.diameter, found.cut_points), (190, 1, 0));
        near(found.mean_path.unwrap(), 1.0);
        near(found.clustering, 1.0);
    }

    #[test]
    fn a_path() {
        let links: Vec<_> = (1..10).map(|node| (node - 1, node)).collect();
        let found = metrics(10, &links);
        assert_eq!((found.edges, found.diameter, found.cut_points), (9, 9, 8));
        near(found.mean_path.unwrap(), 11.0 / 3.0);
    }

    #[test]
    fn clustering_is_the_mean_of_the_members() {
        // A triangle with a tail: 1, 1, 1/3 and 0 (Watts and Strogatz count single links as 0).
        let found = metrics(4, &[(0, 1), (1, 2), (2, 0), (2, 3)]);
        near(found.clustering, (1.0 + 1.0 + 1.0 / 3.0) / 4.0);
        assert_eq!(found.cut_points, 1);
    }

    #[test]
    fn parts_and_lone_members() {
        let found = metrics(8, &[(0, 1), (1, 2), (4, 5), (5, 4), (6, 6)]);
        assert_eq!(
            (found.edges, found.components, found.largest_component),
            (3, 5, 3)
        );
        assert_eq!(found.diameter, 2);
        near(
            found.mean_path.unwrap(),
            (3.0 + 2.0 + 3.0 + 1.0 + 1.0) / 8.0,
        );

        let none = metrics(0, &[]);
        assert_eq!(
            (none.components, none.mean_path, none.is_exact()),
            (0, None, true)
        );
        let lone = metrics(1, &[]);
        assert_eq!(
            (lone.components, lone.mean_path, lone.diameter),
            (1, None, 0)
        );
        assert_eq!(lone.degree, {
            let mut zero = Distribution::default();
            zero.record(0);
            zero
        });
    }

    #[test]
    fn a_sample_comes_close() {
        let nodes = 2_000;
        let mut stream = Stream::fork(3, Concern::Scenario, 0);
        let mut links = ring(nodes);
        links.extend(
            (0..4 * nodes).map(|link| (link % nodes, stream.below(u64::from(nodes)) as u32)),
        );
        let exact = metrics(nodes, &links);
        let sampled = measure(0.0, nodes, links, 400_000);
        assert!(exact.is_exact() && !sampled.is_exact());
        assert!(sampled.path_sources >= 10, "{}", sampled.path_sources);
        assert!(sampled.diameter <= exact.diameter && sampled.diameter + 1 >= exact.diameter);
        let (near, exact) = (sampled.mean_path.unwrap(), exact.mean_path.unwrap());
        assert!(
            (near / exact - 1.0).abs() < 0.02,
            "{near} is not near {exact}"
        );
    }

    #[test]
    fn everybody_has_a_turn() {
        for count in [0, 1, 2, 3, 10, 610, 1000, 4096] {
            let mut order: Vec<_> = evenly(count).collect();
            order.sort_unstable();
            assert!(order.iter().copied().eq(0..count), "{count}");
        }
        // The first tenth of them leaves no gap of more than three times the mean one.
        let mut first: Vec<_> = evenly(1000).take(100).collect();
        first.sort_unstable();
        assert!(first.windows(2).all(|pair| pair[1] - pair[0] <= 30));
    }
}
