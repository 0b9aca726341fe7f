//! Which part of an overlay is drawn.

use super::{Drawing, DrawnLink, DrawnMember};

impl Drawing {
    /// Draws all members with all links if there are at most [`Self::MAX_MEMBERS`]. Of more, draws
    /// a few, evenly spread over the ring, each with all its links and those whom they lead to.
    ///
    /// `links` name their ends by index of `members`; those that name none are left out.
    #[must_use]
    pub fn of(time_s: f64, members: Vec<DrawnMember>, links: &[DrawnLink]) -> Self {
        let count = members.len();
        let ends = |link: &DrawnLink| [link.from as usize, link.to as usize];
        let links: Vec<&DrawnLink> = links
            .iter()
            .filter(|link| ends(link).iter().all(|&end| end < count))
            .collect();
        let mut chosen = vec![count <= Self::MAX_MEMBERS; count];
        if count > Self::MAX_MEMBERS {
            let mut degrees = vec![0usize; count];
            for end in links.iter().flat_map(|link| ends(link)) {
                degrees[end] += 1;
            }
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|&a, &b| members[a].turn.total_cmp(&members[b].turn).then(a.cmp(&b)));
            // As many as fit if each has about the mean number of links.
            let mean = degrees.iter().sum::<usize>() / count;
            let few = (Self::MAX_MEMBERS / (mean + 1)).max(1);
            let mut room = Self::MAX_MEMBERS;
            for member in (0..few).map(|index| order[index * count / few]) {
                if degrees[member] < room {
                    chosen[member] = true;
                    room -= degrees[member] + 1;
                }
            }
        }
        let links: Vec<&DrawnLink> = links
            .into_iter()
            .filter(|link| ends(link).iter().any(|&end| chosen[end]))
            .collect();
        let mut shown = chosen.clone();
        for end in links.iter().flat_map(|link| ends(link)) {
            shown[end] = true;
        }
        let mut index = vec![0; count];
        let mut drawn = Vec::new();
        for (old, mut member) in members
            .into_iter()
            .enumerate()
            .filter(|&(old, _)| shown[old])
        {
            index[old] = drawn.len() as u32;
            member.whole = chosen[old];
            drawn.push(member);
        }
        let renamed = |link: &DrawnLink| {
            let [from, to] = ends(link).map(|end| index[end]);
            DrawnLink { from, to, ..*link }
        };
        Self {
            time_s,
            total: count as u64,
            members: drawn,
            links: links.into_iter().map(renamed).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LinkKind;
    use super::{Drawing, DrawnLink, DrawnMember};

    fn members(count: u32) -> Vec<DrawnMember> {
        (0..count)
            .map(|index| DrawnMember {
                member: index.to_string(),
                // Not in the order of the ring.
                turn: f64::from(index * 7 % count) / f64::from(count),
                alive: true,
                whole: false,
            })
            .collect()
    }

    fn link(from: u32, to: u32) -> DrawnLink {
        DrawnLink {
            from,
            to,
            kind: LinkKind::Long,
        }
    }

    #[test]
    fn few_members_are_all_drawn() {
        let drawing = Drawing::of(1.0, members(10), &[link(0, 9), link(3, 10)]);
        assert_eq!((drawing.total, drawing.members.len()), (10, 10));
        assert_eq!(drawing.links, [link(0, 9)], "a link to nobody is left out");
        assert!(drawing.members.iter().all(|member| member.whole));
    }

    #[test]
    fn of_many_a_few_are_drawn_with_all_their_links() {
        let count = 5_000;
        let links: Vec<_> = (0..count)
            .flat_map(|from| (1..5).map(move |k| link(from, (from + k * 997) % count)))
            .collect();
        let drawing = Drawing::of(1.0, members(count), &links);
        assert_eq!(drawing.total, 5_000);
        assert!(drawing.members.len() <= Drawing::MAX_MEMBERS);
        let whole: Vec<_> = drawing
            .members
            .iter()
            .filter(|member| member.whole)
            .collect();
        assert!(whole.len() > 20, "{}", whole.len());
        for member in &whole {
            let mine = drawing
                .links
                .iter()
                .flat_map(|link| [link.from, link.to])
                .filter(|&end| drawing.members[end as usize].member == member.member);
            assert_eq!(mine.count(), 8, "{}", member.member);
        }
    }

    #[test]
    fn a_hub_of_many_does_not_fill_the_picture() {
        let links: Vec<_> = (1..5_000).map(|leaf| link(0, leaf)).collect();
        let drawing = Drawing::of(1.0, members(5_000), &links);
        assert!(drawing.members.len() <= Drawing::MAX_MEMBERS);
        assert!(drawing.links.len() > 50);
    }
}
