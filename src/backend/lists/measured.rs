//! What an evaluation needs to know of lists.

#[cfg(feature = "cuda")]
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::backend::cuda::metrics::OnDevice;
use crate::{
    backend::lists::check,
    data::Csr,
    device::Resolved,
    error::{Error, Result},
};

/// Users whose lists are measured, to be ranked for again and again.
#[derive(Debug)]
pub struct Audience<'a> {
    users: Vec<u32>,
    seen: Vec<Csr<'a>>,
    relevant: Csr<'a>,
    /// The same where a GPU ranks.
    #[cfg(feature = "cuda")]
    pub(in crate::backend) on_device: Option<OnDevice>,
}

impl<'a> Audience<'a> {
    /// Distinct `users`, to be ranked for on `device`; items in a user's row of any of `seen` are left out, those in a
    /// user's row of `relevant` are looked for.
    ///
    /// # Errors
    /// [`Error::Data`] if `relevant` has no row for a user; if they do not fit into the device's memory, or it fails.
    pub fn new(device: &Resolved, users: Vec<u32>, seen: Vec<Csr<'a>>, relevant: Csr<'a>) -> Result<Self> {
        if let Some(user) = users.iter().find(|&&user| user as usize >= relevant.rows()) {
            return Err(Error::data(
                format!("relevant items are given for {} users, not for user {user}", relevant.rows()),
                "use the data that the model was trained on",
            ));
        }
        check::offsets("relevant", relevant)?;
        #[cfg(feature = "cuda")]
        let on_device = match device {
            Resolved::Cpu => None,
            Resolved::Cuda(device) => Some(OnDevice::new(device, &users, &seen, relevant)?),
        };
        #[cfg(not(feature = "cuda"))]
        let Resolved::Cpu = device;
        Ok(Audience {
            users,
            seen,
            relevant,
            #[cfg(feature = "cuda")]
            on_device,
        })
    }

    /// The users.
    pub fn users(&self) -> &[u32] {
        &self.users
    }

    /// Sets of items that are left out, by user.
    pub fn seen(&self) -> &[Csr<'a>] {
        &self.seen
    }

    /// Items that are looked for, by user.
    pub fn relevant(&self) -> Csr<'a> {
        self.relevant
    }
}

/// A relevant item in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Its rank, from 1.
    pub rank: u32,
    /// Its id.
    pub item: u32,
}

/// Hits of all lists, in the order of users and then rankings, by rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Hits {
    /// `[users x V + 1]`, ascending, from 0.
    starts: Vec<u64>,
    hits: Vec<Hit>,
}

/// How many hits each of some consecutive lists has, and the hits.
pub(in crate::backend) type Part = (Vec<u32>, Vec<Hit>);

impl Hits {
    /// Puts consecutive parts together.
    pub(in crate::backend) fn concat(parts: Vec<Part>) -> Self {
        let mut all = Hits { starts: vec![0], hits: Vec::new() };
        for (lengths, hits) in parts {
            for length in lengths {
                all.starts.push(all.starts[all.starts.len() - 1] + u64::from(length));
            }
            all.hits.extend(hits);
        }
        all
    }

    /// From the ranks `[V, L]` at which the L relevant items are in lists, 0 where they are not.
    #[cfg(feature = "cuda")]
    pub(in crate::backend) fn from_ranks(audience: &Audience<'_>, variants: usize, ranks: &[u16]) -> Self {
        let Audience { users, relevant, .. } = audience;
        let places = relevant.indices.len();
        let part = |users: &[u32]| {
            let (mut lengths, mut hits) = (Vec::new(), Vec::new());
            for &user in users {
                for variant in 0..variants {
                    let ranks = &ranks[variant * places..][..places];
                    let before = hits.len();
                    let row = relevant.row(user).iter().zip(&ranks[relevant.range(user)]);
                    hits.extend(
                        row.filter(|&(_, &rank)| rank > 0)
                            .map(|(&item, &rank)| Hit { rank: u32::from(rank), item }),
                    );
                    hits[before..].sort_unstable_by_key(|hit| hit.rank);
                    lengths.push((hits.len() - before) as u32);
                }
            }
            (lengths, hits)
        };
        Hits::concat(users.par_chunks(1024).map(part).collect())
    }

    /// The hits of list `list`, by rank.
    pub fn of(&self, list: usize) -> &[Hit] {
        &self.hits[self.starts[list] as usize..self.starts[list + 1] as usize]
    }
}

/// What the metrics of an evaluation are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Hits of all lists.
    pub hits: Hits,
    /// `[V x cuts, I]`: in how many lists, cut at each of the cuts, an item is.
    pub frequency: Vec<Vec<u32>>,
}
