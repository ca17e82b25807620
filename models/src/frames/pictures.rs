//! Memory as a picture, for tests: `#` a taken frame, `.` a free one.

use super::{AllocError, FrameAllocator, FrameNumber, FrameRequest, FrameRun, FrameSetting};
use crate::Coins;
use crate::registry::Model;

/// A policy whose memory looks like `picture`: each letter is a block of its own, `#` are blocks of one frame, and each
/// stretch of `.` or `,` was a block that has been freed, in address order. A policy of single frames gets single frames.
///
/// Blocks are handed out from the end of memory where the policy starts, so it must do so end to end at first.
pub(super) fn laid_out<M: Model<dyn FrameAllocator> + FrameAllocator>(picture: &str, options: &M::Options) -> M {
    let setting = FrameSetting { frames: picture.len() as u64, coins: Coins::from_key([4; 32]) };
    let mut policy = M::build(setting, options).expect("the options are good");
    let one_by_one = policy.largest_request() == 1;
    let same_block = |a: &u8, b: &u8| a == b && *a != b'#' && !one_by_one;
    let mut blocks: Vec<&[u8]> = picture.as_bytes().chunk_by(same_block).collect();
    let first = policy.explain(&FrameRequest::frames(1)).chosen.expect("memory is empty");
    let from_high_end = first.start != FrameNumber(0);
    if from_high_end {
        blocks.reverse();
    }
    let runs: Vec<FrameRun> = blocks.iter().map(|block| take(&mut policy, block.len() as u64)).collect();
    let mut freed: Vec<FrameRun> =
        blocks.iter().zip(runs).filter(|(block, _)| is_free(block)).map(|(_, run)| run).collect();
    freed.sort();
    freed.into_iter().for_each(|run| policy.free(run).expect("it is live"));
    assert_eq!(draw(&policy), picture.replace(|owner: char| owner.is_ascii_alphanumeric(), "#"), "laid out as asked");
    policy
}

fn is_free(block: &[u8]) -> bool {
    matches!(block[0], b'.' | b',')
}

/// The block that a request for `frames` frames gets.
pub(super) fn take(policy: &mut impl FrameAllocator, frames: u64) -> FrameRun {
    policy.allocate(&FrameRequest::frames(frames)).expect("a run holds it")
}

/// Why a request for `frames` frames gets none; nothing has moved.
pub(super) fn refusal(policy: &mut impl FrameAllocator, frames: u64) -> AllocError {
    let before = draw(policy);
    let error = policy.allocate(&FrameRequest::frames(frames)).expect_err("no run holds it");
    assert_eq!(draw(policy), before, "a refusal moves nothing");
    error
}

/// `#` taken, `.` free; a free run that touches the one below it is drawn with `,`.
pub(super) fn draw(policy: &impl FrameAllocator) -> String {
    policy.check().expect("the policy is sound");
    let mut picture = vec!['#'; crate::index(policy.total_frames())];
    policy.for_each_free(&mut |run| {
        let (first, end) = (crate::index(run.start.0), crate::index(run.end().0));
        let touches = first > 0 && picture[first - 1] == '.';
        picture[first..end].fill(if touches { ',' } else { '.' });
    });
    picture.into_iter().collect()
}

/// Everything [`explain`](FrameAllocator::explain) says about a request for `frames` frames, in one line.
pub(super) fn why(policy: &impl FrameAllocator, frames: u64) -> String {
    let told = policy.explain(&FrameRequest::frames(frames));
    let candidates: Vec<String> = told.candidates.iter().map(FrameRun::to_string).collect();
    let chosen = match told.chosen {
        Ok(run) => run.to_string(),
        Err(error) => error.to_string(),
    };
    format!("{} of {}: {}; {}; {chosen}", candidates.len(), told.candidates_total, candidates.join(" "), told.rule)
}
