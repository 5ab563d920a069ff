//! One call over tonic, client and server side: what generated code is made of.

use prost::Message;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use tonic::codegen::{http, tokio_stream::Stream};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

pub type HttpRequest = http::Request<tonic::body::Body>;
pub type HttpResponse = http::Response<tonic::body::Body>;
pub type HttpFuture = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// Upstream's limit for messages in either direction; lists on large nodes pass tonic's default of 4 MiB.
const MAX_MESSAGE_SIZE: usize = 16 << 20;

async fn ready(channel: &Channel) -> Result<tonic::client::Grpc<Channel>, Status> {
    let mut grpc =
        tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_SIZE).max_encoding_message_size(MAX_MESSAGE_SIZE);
    grpc.ready().await.map_err(|err| Status::unavailable(describe(&err)))?;
    Ok(grpc)
}

/// tonic's transport error says only "transport error"; the cause is what a user can act on.
fn describe(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text = format!("{text}: {err}");
        source = err.source();
    }
    text
}

pub async fn unary<Req, Res>(channel: &Channel, path: &'static str, message: Req) -> Result<Res, Status>
where
    Req: Message + 'static,
    Res: Message + Default + 'static,
{
    let mut grpc = ready(channel).await?;
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc.unary(Request::new(message), path, ProstCodec::<Req, Res>::default()).await?;
    Ok(answer.into_inner())
}

pub async fn server_streaming<Req, Res>(channel: &Channel, path: &'static str, message: Req) -> Result<Streaming<Res>, Status>
where
    Req: Message + 'static,
    Res: Message + Default + 'static,
{
    let mut grpc = ready(channel).await?;
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc.server_streaming(Request::new(message), path, ProstCodec::<Req, Res>::default()).await?;
    Ok(answer.into_inner())
}

pub fn serve_unary<Req, Res>(request: HttpRequest, handle: impl FnOnce(Req) -> Answer<Res> + Send + 'static) -> HttpFuture
where
    Req: Message + Default + 'static,
    Res: Message + 'static,
{
    let mut handle = Some(handle);
    let service = tower::service_fn(move |request: Request<Req>| {
        // tonic calls a service once per request, and each request builds its own.
        let answer = handle.take().expect("a service made for one request is called once")(request.into_inner());
        async move { answer.await.map(Response::new) }
    });
    Box::pin(async move { Ok(tonic::server::Grpc::new(ProstCodec::<Res, Req>::default()).unary(service, request).await) })
}

pub fn serve_streaming<Req, Res>(request: HttpRequest, handle: impl FnOnce(Req) -> Answer<BoxStream<Res>> + Send + 'static) -> HttpFuture
where
    Req: Message + Default + 'static,
    Res: Message + 'static,
{
    let service = StreamingOnce(Some(handle), std::marker::PhantomData::<fn(Req) -> Res>);
    Box::pin(async move { Ok(tonic::server::Grpc::new(ProstCodec::<Res, Req>::default()).server_streaming(service, request).await) })
}

struct StreamingOnce<F, Req, Res>(Option<F>, std::marker::PhantomData<fn(Req) -> Res>);

impl<F, Req, Res> tonic::server::ServerStreamingService<Req> for StreamingOnce<F, Req, Res>
where
    F: FnOnce(Req) -> Answer<BoxStream<Res>>,
    Res: 'static,
{
    type Response = Res;
    type ResponseStream = BoxStream<Res>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<BoxStream<Res>>, Status>> + Send>>;

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let answer = self.0.take().expect("a service made for one request is called once")(request.into_inner());
        Box::pin(async move { answer.await.map(Response::new) })
    }
}

pub fn unknown_method() -> HttpFuture {
    Box::pin(async { Ok(Status::unimplemented("unknown method").into_http()) })
}
