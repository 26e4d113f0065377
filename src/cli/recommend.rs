//! `macr recommend`: lists for users, by external ids.

use std::{
    borrow::Cow,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    memory,
    output::{Output, counted},
    run_folder::Run,
    system::Memory,
};
use crate::{
    atomic_file::write_atomic,
    backend::lists::{Block, Candidate, Ranks},
    data::{Csr, Ids, Split},
    device::Resolved,
    error::{Error, Result, nearest},
    model::Ranking,
    recommend::Recommender,
};

/// Lists are formed and written for so many users at a time, or with so many items in all.
const USERS_AT_ONCE: usize = 1 << 14;
const ITEMS_AT_ONCE: usize = 1 << 20;
/// Characters of a line beside the ids: rank, score and what stands between.
const LINE: usize = 40;

/// Recommend items to users.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or its model.safetensors.
    run: PathBuf,
    /// Length of the lists.
    #[arg(long, short, default_value_t = 20)]
    k: usize,
    /// Users to recommend to: a file with one id a line, or ids separated by commas [default: all users].
    #[arg(long, value_name = "FILE|ID,..")]
    users: Option<String>,
    /// Counterfactual reference score to rank with [default: the model's own].
    #[arg(long, allow_negative_numbers = true)]
    c: Option<f32>,
    /// Popularity adjustment to rank with [default: the model's own].
    #[arg(long, allow_negative_numbers = true)]
    tau: Option<f32>,
    /// Interaction file that says which items users have seen; these are left out. Needed unless --include-seen is
    /// given.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Splits of the data that count as seen; without test, the lists can be measured on the test split [default:
    /// train,valid,test].
    #[arg(long, value_enum, value_name = "SPLIT,..", value_delimiter = ',', conflicts_with = "include_seen")]
    seen: Option<Vec<Split>>,
    /// Recommend items that the users have seen, too.
    #[arg(long)]
    include_seen: bool,
    /// Leave out users whom the model does not know, instead of failing.
    #[arg(long)]
    skip_unknown: bool,
    #[command(flatten)]
    placement: super::Placement,
    /// Write to this file instead of standard output.
    #[arg(long, short, alias = "out", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write JSON instead of tab-separated columns.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// If the model cannot be read, a user is unknown, or the lists cannot be written.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let run = Run::open(&args.run)?;
    let Run { model, ids: stored } = &run;
    let data = args.data.as_deref().map(|path| super::open_data(path, output)).transpose()?;
    if let Some((data, path)) = data.as_ref().zip(args.data.as_deref()) {
        run.check(data, path, output)?;
    } else if !args.include_seen {
        return Err(Error::data(
            "a run does not hold what its users have seen",
            "name the data with --data FILE, or pass --include-seen to recommend seen items too",
        ));
    }
    let (user_ids, item_ids) = match stored.as_ref().or(data.as_ref()) {
        Some(known) => (known.user_ids(), known.item_ids()),
        None => {
            output.remark(
                "there is no ids.macr beside the model: users and items are called by number, from 0",
            );
            (Ids::Dense(model.users()), Ids::Dense(model.items()))
        }
    };
    let users = users(&args, &user_ids, output)?;

    let own = model.metadata.ranking;
    let ranking = Ranking { c: args.c.unwrap_or(own.c), tau: args.tau.unwrap_or(own.tau) };
    let device = args.placement.device(output)?;
    if matches!(device, Resolved::Cpu) {
        let threads = rayon::current_num_threads() as u64;
        let lines = users.len().min(users_at_once(args.k)) * args.k.min(model.items() as usize);
        let need = memory::listing(model.items(), model.dim, &[ranking], args.k, threads)
            + (lines * (LINE + longest(&user_ids) + longest(&item_ids))) as u64;
        Memory::now().admit("the making of lists", need, "ask for a smaller -k or fewer --threads")?;
    }
    let mut recommender = Recommender::new(model)?.ranking(ranking).device(&device);
    if let Some(data) = data.as_ref().filter(|_| !args.include_seen) {
        recommender = recommender.seen_in(data, args.seen.as_deref().unwrap_or(&Split::ALL));
        if args.seen.is_none() && data.count(Split::Test) > 0 {
            output.remark(
                "items of the test split are left out too; lists that are to be measured on it take --seen train",
            );
        }
    }
    let lists = Lists {
        ranker: recommender.ranker(args.k)?,
        masks: recommender.masks(),
        users: &users,
        user_ids: &user_ids,
        item_ids: &item_ids,
        k: args.k,
        json: args.json,
    };
    match &args.output {
        None => lists.write(|text| {
            output.result(text.strip_suffix('\n').unwrap_or(text));
            Ok(())
        }),
        Some(path) => {
            // The lists' own errors pass through the file's, so they are kept apart.
            let mut failed = None;
            let written = write_atomic(path, |file| {
                lists.write(|text| file.write_all(text.as_bytes()).map_err(Error::io("write", path))).map_err(
                    |e| {
                        let error = io::Error::other("the lists could not be formed");
                        failed = Some(e);
                        error
                    },
                )
            });
            match failed {
                Some(error) => return Err(error),
                None => written?,
            }
            output.remark(format_args!(
                "wrote lists for {} to {}",
                counted(users.len() as u64, "user"),
                path.display()
            ));
            Ok(())
        }
    }
}

/// The users asked for, as internal ids.
fn users(args: &Args, ids: &Ids<'_>, output: &Output) -> Result<Vec<u32>> {
    let Some(given) = &args.users else {
        return Ok((0..ids.len()).collect());
    };
    let path = Path::new(given);
    let is_file = path.exists() && !path.is_dir();
    let text = if is_file {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        Cow::Owned(String::from_utf8(bytes).map_err(|_| Error::File {
            path: path.into(),
            problem: "the file is not UTF-8 text".into(),
            remedy: "give a file with one user id a line".into(),
        })?)
    } else {
        Cow::Borrowed(given.as_str())
    };
    let index = ids.index();
    let (mut users, mut unknown) = (Vec::new(), 0u64);
    for (place, name) in (1..).zip(text.split(if is_file { '\n' } else { ',' })) {
        let name = name.trim();
        match index.get(name) {
            _ if name.is_empty() => {}
            Some(user) => users.push(user),
            None if args.skip_unknown => unknown += 1,
            None if is_file => return Err(unknown_user(&format!("{given}:{place}: "), name, ids)),
            None if given.contains(',') => return Err(unknown_user("", name, ids)),
            None => return Err(unknown_user("there is no file of that name, and ", name, ids)),
        }
    }
    if unknown > 0 {
        output.remark(format_args!("left out {}, unknown to the model", counted(unknown, "user")));
    } else if users.is_empty() {
        return Err(Error::config(
            "users",
            given,
            "no user is named",
            "give ids, or leave --users out for all",
        ));
    }
    Ok(users)
}

fn unknown_user(place: &str, name: &str, ids: &Ids<'_>) -> Error {
    let hint = match ids {
        Ids::Dense(n) => format!(" (users are called 0 to {})", n.saturating_sub(1)),
        Ids::Text { .. } => nearest(name, (0..ids.len()).map(|k| ids.get(k)))
            .map_or(String::new(), |nearest| format!(" (did you mean `{nearest}`?)")),
    };
    Error::data(
        format!("{place}unknown user `{name}`{hint}"),
        "correct the id, or pass --skip-unknown to leave such users out",
    )
}

/// Forms lists and writes them as text.
struct Lists<'a> {
    ranker: Box<dyn Ranks + 'a>,
    masks: &'a [Csr<'a>],
    users: &'a [u32],
    user_ids: &'a Ids<'a>,
    item_ids: &'a Ids<'a>,
    k: usize,
    json: bool,
}

fn users_at_once(k: usize) -> usize {
    (ITEMS_AT_ONCE / k.max(1)).clamp(1, USERS_AT_ONCE)
}

/// Bytes of the longest id.
fn longest(ids: &Ids<'_>) -> usize {
    match ids {
        Ids::Dense(n) => n.to_string().len(),
        Ids::Text { offsets, .. } => {
            offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0) as usize
        }
    }
}

/// A string as JSON.
fn quoted(text: Cow<'_, str>) -> String {
    serde_json::Value::from(text).to_string()
}

impl Lists<'_> {
    /// Passes the text to `write` piece by piece; every piece ends a line.
    fn write(&self, mut write: impl FnMut(&str) -> Result<()>) -> Result<()> {
        write(if self.json { "[\n" } else { "user\titem\trank\tscore\n" })?;
        let mut first = true;
        for users in self.users.chunks(users_at_once(self.k)) {
            let texts = self.ranker.map_blocks(users, self.masks, |block| self.text(block))?;
            for text in texts.iter().filter(|text| !text.is_empty()) {
                // JSON separates lists, and ends none with a comma.
                match (self.json, std::mem::take(&mut first)) {
                    (true, false) => write(&format!(",{text}"))?,
                    _ => write(text)?,
                }
            }
        }
        if self.json { write("]\n") } else { Ok(()) }
    }

    fn text(&self, block: &Block<'_>) -> String {
        let mut text = String::new();
        for (row, &user) in block.users.iter().enumerate() {
            let (user, list) = (self.user_ids.get(user), block.list(row, 0));
            if self.json {
                let item = |c: &Candidate| {
                    format!("{{\"item\":{},\"score\":{:?}}}", quoted(self.item_ids.get(c.item())), c.score())
                };
                let items: Vec<String> = list.iter().map(item).collect();
                let separator = if row > 0 { "," } else { "" };
                text.push_str(&format!(
                    "{separator}{{\"user\":{},\"items\":[{}]}}\n",
                    quoted(user),
                    items.join(",")
                ));
            } else {
                for (rank, candidate) in (1..).zip(list) {
                    let item = self.item_ids.get(candidate.item());
                    text.push_str(&format!("{user}\t{item}\t{rank}\t{:?}\n", candidate.score()));
                }
            }
        }
        text
    }
}
