"""`python -m examples.scripted_model --port 8422 --key-file F`: serve the scripted model on loopback."""

import argparse
from pathlib import Path

from examples.loopback import read_token, serve
from examples.scripted_model.server import application

parser = argparse.ArgumentParser(prog="python -m examples.scripted_model")
parser.add_argument("--port", type=int, default=8422, help="loopback port; 0 takes a free one")
parser.add_argument("--key-file", type=Path, required=True, help="file that holds the API key to demand")
options = parser.parse_args()
serve(application(read_token(options.key_file)), port=options.port, name="scripted model")
