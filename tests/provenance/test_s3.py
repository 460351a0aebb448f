"""Requests to buckets are signed as Amazon's own examples are (S3 API reference, authentication by header)."""

from datetime import UTC, datetime

import pytest

from provenance.s3 import UnusableCredentials, s3_headers

EXAMPLE = "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ("?prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_questions_of_amazons_own_examples(query, signature):
    headers = s3_headers(
        EXAMPLE,
        method="GET",
        url=f"https://examplebucket.s3.amazonaws.com/{query}",
        region="us-east-1",
        at=datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert headers["authorization"].endswith(f"Signature={signature}")


def test_the_put_of_amazons_own_example():
    headers = s3_headers(
        EXAMPLE,
        method="PUT",
        url="https://examplebucket.s3.amazonaws.com/test$file.text",
        region="us-east-1",
        at=datetime(2013, 5, 24, tzinfo=UTC),
        body=b"Welcome to Amazon S3.",
        signed={"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
    )
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
        "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )


@pytest.mark.parametrize("credentials", ["", "id", ":secret", "id:"])
def test_credentials_of_a_bucket_have_two_parts(credentials):
    with pytest.raises(UnusableCredentials):
        s3_headers(credentials, method="PUT", url="https://x/y", region="r", at=datetime.now(UTC), body=b"")
