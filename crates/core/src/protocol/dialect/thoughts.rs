//! Detects reasoning in tags before the answer. Servers without a reasoning parser send it as text.

/// The tags of current models, in lower case: Qwen, DeepSeek and relatives, Magistral, Seed, Kimi,
/// gpt-oss, Sky-T1, Command A, `MedGemma`, Apertus, Granite.
const TAGS: [(&str, &str); 14] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reason>", "</reason>"),
    ("<reasoning>", "</reasoning>"),
    ("[think]", "[/think]"),
    ("<seed:think>", "</seed:think>"),
    ("\u{25c1}think\u{25b7}", "\u{25c1}/think\u{25b7}"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|start_thinking|>", "<|end_thinking|>"),
    ("<unused94>thought", "<unused95>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("here is my thought process:", "here is my response:"),
];

/// The state of reading an answer's text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::protocol) enum Thoughts {
    /// Only white space, or the beginning of a tag, has arrived.
    #[default]
    Undecided,
    /// Inside reasoning until this closing tag, which does not occur before this byte.
    Inside(&'static str, usize),
    /// The answer begins at this byte.
    AnswerFrom(usize),
}

impl Thoughts {
    /// Reads more of `text`, which only grows. Returns whether part of the answer has arrived.
    pub(super) fn read(&mut self, text: &str) -> bool {
        if *self == Self::Undecided {
            let start = text.trim_start();

            let opened = TAGS.iter().find(|(open, _)| begins_with(start, open));
            if let Some((open, close)) = opened {
                *self = Self::Inside(close, text.len() - start.len() + open.len());
            } else if start.is_empty() || TAGS.iter().any(|(open, _)| begins_with(open, start)) {
                return false;
            } else {
                *self = Self::AnswerFrom(0);
            }
        }
        if let Self::Inside(close, from) = *self {
            if let Some(at) = text[from..].to_ascii_lowercase().find(close) {
                *self = Self::AnswerFrom(from + at + close.len());
            } else {
                // A closing tag may have begun at the very end.
                let last = text.len().saturating_sub(close.len()).max(from);
                *self = Self::Inside(close, text.floor_char_boundary(last));
            }
        }
        matches!(self, Self::AnswerFrom(at) if text.len() > *at)
    }

    /// Returns the answer in `text`, which must be read to its end. If a template opened the tag,
    /// only the closing tag is in the text.
    pub(super) fn visible(self, text: &str) -> &str {
        match self {
            Self::Inside(..) => "",
            Self::AnswerFrom(at) if at > 0 => &text[at..],
            Self::Undecided | Self::AnswerFrom(_) => {
                let lower = text.to_ascii_lowercase();
                TAGS.iter()
                    .filter_map(|(_, close)| lower.rfind(close).map(|at| &text[at + close.len()..]))
                    .min_by_key(|rest| rest.len())
                    .unwrap_or(text)
            }
        }
    }
}

/// Reports whether `long` begins with `short`, in any case.
fn begins_with(long: &str, short: &str) -> bool {
    let head = long.as_bytes().get(..short.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(short.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn visible(text: &str) -> &str {
        let mut thoughts = Thoughts::default();
        thoughts.read(text);
        thoughts.visible(text)
    }

    #[test]
    fn thoughts_in_tags_are_no_part_of_an_answer() {
        assert_eq!(visible("pong"), "pong");
        assert_eq!(visible("  <think>pong? yes</think>\n\npong"), "\n\npong");
        assert_eq!(visible("<think>they want pong"), "");
        assert_eq!(visible("they want pong</think>ok"), "ok");
        assert_eq!(visible("[THINK]pong[/THINK]ok"), "ok");
        assert_eq!(visible("<THINK>pong</Think>ok"), "ok");
        assert_eq!(visible("<|START_THINKING|>pong<|END_THINKING|>ok"), "ok");
        assert_eq!(visible("<unused94>thought\npong<unused95>ok"), "ok");
        assert_eq!(visible("Here is my thought process: pong"), "");
        assert_eq!(
            visible("Here is my answer: pong"),
            "Here is my answer: pong"
        );
        assert_eq!(visible("<thirteen>"), "<thirteen>");
        assert_eq!(visible("<th"), "<th");
    }

    proptest! {
        #[test]
        fn borders_between_parts_do_not_matter(
            parts in prop::collection::vec("(<think>|</think>|<th|ink>|é|pong| ){0,3}", 0..8)
        ) {
            let joined = parts.concat();
            let mut thoughts = Thoughts::default();
            let mut text = String::new();
            for part in &parts {
                text.push_str(part);
                thoughts.read(&text);
            }
            prop_assert_eq!(thoughts.visible(&text), visible(&joined));
        }
    }
}
