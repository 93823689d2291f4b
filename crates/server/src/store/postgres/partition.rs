//! What a partition is, and how our statements come to speak of it.
//!
//! Every table that names a workspace has a column `partition` before it, a number that follows from the workspace's id alone.
//! Our statements do not mention it: it is added here to each equality, key and insert, so that no statement can forget it.

/// Which partition the rows of a workspace are in.
pub fn partition(workspace: i64, partitions: i64) -> i64 {
    workspace.rem_euclid(partitions)
}

/// Where a parameter of a translated statement comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The value with this index.
    Value(usize),
    /// The partition of the workspace that is the value with this index.
    Partition(usize),
}

/// Our statement in this server's words: numbered parameters, and a partition wherever a workspace is named as equal to
/// something, in a key, or in an insert. Tables that are read by partition alone name it themselves.
pub fn translate(sql: &str) -> (String, Vec<Source>) {
    let placed = if sql.contains("partition") { sql.to_owned() } else { with_partitions(sql) };
    let (mut text, mut sources, mut rest) = (String::new(), Vec::new(), &placed[..]);
    while let Some((before, after)) = rest.split_once('?') {
        text.push_str(before);
        let (partition, digits) = after.strip_prefix('p').map_or((false, after), |digits| (true, digits));
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let index = digits[..end].parse::<usize>().map_or(0, |number| number - 1);
        let source = if partition { Source::Partition(index) } else { Source::Value(index) };
        let known = sources.iter().position(|known| *known == source);
        let number = known.unwrap_or_else(|| {
            sources.push(source);
            sources.len() - 1
        });
        text.push_str(&format!("${}", number + 1));
        rest = &digits[end..];
    }
    text.push_str(rest);
    (text, sources)
}

/// Adds partitions; `?p1` stands for the partition of the workspace that is `?1`.
pub fn with_partitions(sql: &str) -> String {
    const WORKSPACE: &str = "workspace";
    let (mut text, mut rest) = (String::with_capacity(sql.len() + 64), sql);
    let of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(at) = rest.find(WORKSPACE) {
        let (before, after) = (&rest[..at], &rest[at + WORKSPACE.len()..]);
        text.push_str(before);
        let word = !text.ends_with(of_word) && !after.starts_with(of_word);
        let alias =
            text.strip_suffix('.').map_or("", |text| text.rsplit(|c| !of_word(c)).next().unwrap_or(""));
        let alias = if alias.is_empty() { String::new() } else { format!("{alias}.") };
        if let (true, Some(number)) = (word, after.strip_prefix(" = ?")) {
            let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
            text.push_str(&format!("partition = ?p{} and {alias}", &number[..digits]));
        } else if let (true, Some((other, _))) =
            (word, after.strip_prefix(" = ").and_then(|after| after.split_once(".workspace")))
        {
            if !other.is_empty() && other.chars().all(of_word) {
                text.push_str(&format!("partition = {other}.partition and {alias}"));
            }
        } else if word && text.ends_with('(') && after.starts_with([',', ')']) {
            text.push_str("partition, ");
        }
        text.push_str(WORKSPACE);
        rest = after;
    }
    text.push_str(rest);
    if !text.starts_with("insert") || !text.contains("(partition, workspace") {
        return text;
    }
    // The workspace is the first value of what is inserted.
    let splits = ["values (", "select "].map(|word| (word, text.split_once(&format!("{word}?"))));
    let Some((word, (head, values))) = splits.into_iter().find_map(|(word, split)| Some((word, split?)))
    else {
        return text;
    };
    let digits = values.find(|c: char| !c.is_ascii_digit()).unwrap_or(values.len());
    format!("{head}{word}?p{}, ?{values}", &values[..digits])
}
