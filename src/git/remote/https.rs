//! Git over HTTPS: a question is gathered until it is read from, then sent. No redirects: the credential goes to the host that
//! was written down and to no other.

use super::job::{Job, Way};
use crate::git::remote::tls;
use base64::Engine as _;
use std::io::{Read, Write};
use std::sync::Arc;

/// The longest question: wants and haves, never content.
const QUESTION_BYTES_MAX: usize = 1 << 20;

/// One question and its answer.
pub(super) struct Https {
    job: Arc<Job>,
    /// None: the list of names is asked for.
    question: Option<Vec<u8>>,
    answer: Option<ureq::BodyReader<'static>>,
}

impl Https {
    pub(super) fn advertisement(job: &Arc<Job>) -> Self {
        Self { job: Arc::clone(job), question: None, answer: None }
    }

    pub(super) fn question(job: &Arc<Job>) -> Self {
        Self { job: Arc::clone(job), question: Some(Vec::new()), answer: None }
    }

    fn ask(&mut self) -> std::io::Result<ureq::BodyReader<'static>> {
        let job = &self.job;
        let Way::Https { url, basic, authority_file } = &job.way else { return Err(job.fail("this is no HTTPS")) };
        let left = job.left().ok_or_else(|| job.fail_late())?;
        let agent = tls::agent(authority_file.as_deref(), left).map_err(|why| job.fail(why))?;
        let authorization = basic.as_ref().map(|basic| {
            let pair = format!("{}:{}", basic.user, basic.password.expose());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        });
        let (response, media) = match self.question.take() {
            None => {
                let mut request = agent.get(format!("{url}/info/refs?service=git-upload-pack"));
                if let Some(authorization) = &authorization {
                    request = request.header("authorization", authorization);
                }
                (request.call(), "application/x-git-upload-pack-advertisement")
            }
            Some(question) => {
                let mut request = agent
                    .post(format!("{url}/git-upload-pack"))
                    .header("content-type", "application/x-git-upload-pack-request")
                    .header("accept", "application/x-git-upload-pack-result");
                if let Some(authorization) = &authorization {
                    request = request.header("authorization", authorization);
                }
                (request.send(&question[..]), "application/x-git-upload-pack-result")
            }
        };
        let response = response.map_err(|error| match error {
            ureq::Error::Timeout(_) => job.fail_late(),
            error => job.fail(tls::no_answer(&error, authority_file.as_deref())),
        })?;
        let status = response.status().as_u16();
        let given = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if status == 200 && given.split(';').next().is_some_and(|given| given.trim() == media) {
            return Ok(response.into_body().into_reader());
        }
        Err(job.fail(match status {
            200 => "the answer is no Git repository's (is the URL that of a page?)".to_owned(),
            300..=399 => "it answers with a redirect, which is not followed; write the new URL (often it ends in .git)".to_owned(),
            401 | 403 if basic.is_none() => format!("it wants credentials (HTTP {status}); name a file with a token in `credentials`"),
            401 | 403 => format!("it does not take the credentials (HTTP {status}); is the token still good, and may it read this repository?"),
            404 => "there is no such repository, or not for these credentials (HTTP 404)".to_owned(),
            429 => "it is asked too often (HTTP 429); a longer interval helps".to_owned(),
            _ => format!("it answers with HTTP {status}"),
        }))
    }
}

impl Read for Https {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.answer.is_none() {
            self.answer = Some(self.ask()?);
        }
        let Some(answer) = &mut self.answer else { return Ok(0) };
        let count = answer.read(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => self.job.fail_late(),
            _ if self.job.left().is_none() => self.job.fail_late(),
            _ => self.job.fail(format!("the connection broke in the middle: {error}")),
        })?;
        self.job.came(count)?;
        Ok(count)
    }
}

impl Write for Https {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let job = &self.job;
        let question = self.question.as_mut().ok_or_else(|| job.fail("a question was asked too late"))?;
        if question.len() + bytes.len() > QUESTION_BYTES_MAX {
            return Err(job.fail("the question became too long"));
        }
        question.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
