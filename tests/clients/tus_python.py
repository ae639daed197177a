"""Uploads a file with a client from PyPI, until that succeeds. Prints the URL of the upload.

python tus_python.py CLIENT ENDPOINT TOKEN FILE STATE
"""

import asyncio
import sys
import time
from pathlib import Path

import aiotus
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage


def tuspy(endpoint, headers, path, state, **options):
    """Each try is a new uploader, which finds the URL that the last one stored."""
    for _ in range(75):
        storage = FileStorage(str(state / "urls.json"))
        try:
            uploader = TusClient(endpoint, headers=headers).uploader(
                str(path),
                metadata={"filename": path.name},
                store_url=True,
                url_storage=storage,
                **options,
            )
            uploader.upload()
            return uploader.url
        except Exception as error:
            print(f"tuspy tries again: {error}", file=sys.stderr)
            time.sleep(0.2)
        finally:
            storage.close()
    raise SystemExit("tuspy did not succeed")


def tuspy_retries(endpoint, headers, path, state):
    uploader = TusClient(endpoint, headers=headers).uploader(
        str(path), chunk_size=3 * 1024 * 1024, retries=75, retry_delay=0.2
    )
    uploader.upload()
    return uploader.url


def aiotus_(endpoint, headers, path, state):
    async def upload():
        with path.open("rb") as file:
            return await aiotus.upload(endpoint, file, {"filename": path.name.encode()}, headers=headers)

    return asyncio.run(upload()) or sys.exit("aiotus did not succeed")


CLIENTS = {
    "tuspy": tuspy,
    "tuspy-checksum": lambda *args: tuspy(*args, chunk_size=2 * 1024 * 1024, upload_checksum=True),
    "tuspy-retries": tuspy_retries,
    "aiotus": aiotus_,
}

client, endpoint, token, path, state = sys.argv[1:]
print(CLIENTS[client](endpoint, {"Authorization": f"Bearer {token}"}, Path(path), Path(state)))
