//! OpenAI-style text-to-speech and speech-to-text, probed with a word and a tone.

use serde_json::{Value, json};

use super::{Answer, ProbeRequest, Request, chat, text_of};

/// Half a second of a quiet tone: long enough for every API, and not private.
const SAMPLES_PER_SECOND: u32 = 8000;
const SAMPLES: u32 = SAMPLES_PER_SECOND / 2;
const TONE_HZ: f64 = 440.0;
const LOUDNESS: f64 = 3000.0;
/// The multipart boundary of the form.
const BOUNDARY: &str = "llmwatch-7d1c9a52e6b84f0d";

/// Builds the request for speech; the response is the audio itself.
pub(super) fn speech(ask: &ProbeRequest<'_>) -> Request {
    ask.openai("audio/speech", true, || {
        json!({
            "model": ask.model(),
            "input": ask.endpoint.prompt,
            "voice": "alloy",
            "response_format": "mp3",
        })
    })
}

/// Builds the request for a transcription: a form with a file.
pub(super) fn transcription(ask: &ProbeRequest<'_>) -> Request {
    let mut request = ask.openai("audio/transcriptions", true, || Value::Null);
    if ask.endpoint.body.is_none() {
        request.body = form(ask.model().unwrap_or_default());
        request.headers.push((
            "content-type".to_owned(),
            format!("multipart/form-data; boundary={BOUNDARY}"),
        ));
    }
    request
}

/// Builds the form, with the fields in the order of OpenAI's client.
fn form(model: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in [("model", model), ("response_format", "json")] {
        let field = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        body.extend(field.bytes());
    }
    body.extend(
        format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"tone.wav\"\r\n\
             content-type: audio/wav\r\n\r\n"
        )
        .bytes(),
    );
    body.extend(tone());
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
    body
}

/// Generates a tone as a mono WAV file with 16 bits per sample.
fn tone() -> Vec<u8> {
    let length = SAMPLES * 2;
    let mut wav = Vec::with_capacity(44 + length as usize);
    wav.extend(b"RIFF");
    wav.extend((36 + length).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    // PCM, mono.
    wav.extend([1, 0, 1, 0]);
    wav.extend(SAMPLES_PER_SECOND.to_le_bytes());
    wav.extend((SAMPLES_PER_SECOND * 2).to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(length.to_le_bytes());
    for n in 0..SAMPLES {
        let at = f64::from(n) / f64::from(SAMPLES_PER_SECOND);
        let value = (LOUDNESS * (std::f64::consts::TAU * TONE_HZ * at).sin()) as i16;
        wav.extend(value.to_le_bytes());
    }
    wav
}

/// Parses a transcription. A tone has no words, so an empty one is valid.
pub(super) fn transcript(answer: &mut Answer, document: &Value) {
    let Some(text) = document["text"].as_str() else {
        answer.malformed = true;
        return;
    };
    answer.text = if text.trim().is_empty() {
        "an empty transcript".to_owned()
    } else {
        text.to_owned()
    };
    answer.model = text_of(&document["model"]);
    chat::usage(answer, &document["usage"]);
    answer.complete = true;
}
