from examples.servers import run_one

run_one("docs")
