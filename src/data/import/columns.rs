//! Which column of a file is the user, the item, the rating and the time.

use super::{ImportOptions, Rows, date::parse_date, rows::parse_rating};
use crate::{
    error::{Error, Result},
    numerals::counted,
};

/// Names by which columns are known, in lower case and without `_`, `-` and blanks.
const USER: &[&str] = &[
    "user",
    "userid",
    "uid",
    "u",
    "reviewerid",
    "customerid",
    "visitorid",
    "memberid",
    "accountid",
    "sessionid",
];
const ITEM: &[&str] = &[
    "item",
    "itemid",
    "iid",
    "i",
    "movieid",
    "asin",
    "parentasin",
    "productid",
    "isbn",
    "bookid",
    "songid",
    "trackid",
    "artistid",
    "businessid",
    "newsid",
    "articleid",
    "gameid",
    "videoid",
];
const RATING: &[&str] = &["rating", "ratings", "score", "stars", "overall", "weight", "bookrating"];
const TIMESTAMP: &[&str] = &["timestamp", "time", "ts", "unixreviewtime", "unixtime"];

/// Times of the last decades in seconds are larger, ratings are smaller.
const SMALLEST_TIME: f32 = 1e8;

/// The columns that a file has.
pub(super) struct Columns<'a> {
    /// Their names, if it has a header.
    pub(super) names: Option<&'a [String]>,
    pub(super) width: usize,
}

/// The columns that are used, from 0.
pub(super) struct Chosen {
    user: usize,
    item: usize,
    rating: Option<usize>,
    timestamp: Option<usize>,
}

/// True if `names` look like a header with a user or an item.
pub(super) fn names_known(names: &[String]) -> bool {
    names.iter().any(|name| is(name, USER) || is(name, ITEM))
}

fn is(name: &str, known: &[&str]) -> bool {
    let plain: String = name.to_lowercase().chars().filter(|c| !"_- ".contains(*c)).collect();
    known.contains(&plain.as_str())
}

impl Columns<'_> {
    /// Chooses by the options, else by the names, else by position; `sample` holds lines of fields for telling ratings
    /// from times where there are no names.
    pub(super) fn choose(&self, options: &ImportOptions, sample: &[Vec<String>]) -> Result<Chosen> {
        let user = options.user.as_deref().map(|given| self.find("user", given)).transpose()?;
        let item = options.item.as_deref().map(|given| self.find("item", given)).transpose()?;
        let user = user.or_else(|| self.known(USER, item));
        let item = item.or_else(|| self.known(ITEM, user));
        let free = |taken: Option<usize>| (0..self.width).find(|&k| Some(k) != taken);
        let (Some(user), Some(item)) = (user.or_else(|| free(item)), item.or_else(|| free(user.or(Some(0)))))
        else {
            return Err(Error::data(
                format!(
                    "a line has {}, and a user and an item need two",
                    counted(self.width as u64, "column")
                ),
                "give the separator with --separator",
            ));
        };
        if user == item {
            return Err(Error::config(
                "item",
                item + 1,
                "this column is the user's already",
                "choose another column for one of them",
            ));
        }

        // Without names, numbers and dates after the pair are taken for what they look like.
        let number = |field: &str| {
            let field = field.trim().as_bytes();
            parse_rating(field).or_else(|| parse_date(field).map(|_| f32::INFINITY))
        };
        let looks = |k: usize| {
            let values: Option<Vec<f32>> = sample.iter().map(|line| number(line.get(k)?)).collect();
            values.filter(|v| !v.is_empty()).map(|v| v.iter().all(|&x| x >= SMALLEST_TIME))
        };
        let guess = |time: bool| {
            (0..self.width)
                .filter(|&k| self.names.is_none() && k != user && k != item)
                .find(|&k| looks(k) == Some(time))
        };
        let optional = |key, given: &Option<String>, known, time| match given.as_deref() {
            Some("none") => Ok(None),
            Some(given) => self.find(key, given).map(Some),
            None => Ok(self.known(known, None).or_else(|| guess(time))),
        };
        Ok(Chosen {
            user,
            item,
            rating: optional("rating", &options.rating, RATING, false)?,
            timestamp: optional("timestamp", &options.timestamp, TIMESTAMP, true)?,
        })
    }

    fn known(&self, known: &[&str], taken: Option<usize>) -> Option<usize> {
        // In the order of the known names: `item` goes before `i`.
        let names = self.names?;
        known
            .iter()
            .find_map(|k| names.iter().position(|name| is(name, &[k])).filter(|&at| Some(at) != taken))
    }

    /// The column that a person means: a name in the header, or a number from 1.
    fn find(&self, key: &'static str, given: &str) -> Result<usize> {
        let names = self.names.unwrap_or_default();
        if let Some(k) = names.iter().position(|name| name == given) {
            return Ok(k);
        }
        match given.parse::<usize>() {
            Ok(k) if (1..=self.width).contains(&k) => Ok(k - 1),
            Ok(_) => Err(Error::config(
                key,
                given,
                format!("the file has {}", counted(self.width as u64, "column")),
                "give a number from 1, or a name in the header",
            )),
            Err(_) if self.names.is_none() => Err(Error::config(
                key,
                given,
                "the file has no header to find this name in",
                "give the number of the column, from 1, or --header",
            )),
            Err(_) => Err(Error::unknown("column", given, names)),
        }
    }
}

impl Chosen {
    /// Lines with these columns, without header and quotes.
    pub(super) fn rows(&self, separator: &[u8], width: usize) -> Rows {
        Rows {
            separator: separator.into(),
            header: false,
            quoted: false,
            width,
            user: self.user,
            item: self.item,
            rating: self.rating,
            timestamp: self.timestamp,
        }
    }
}
