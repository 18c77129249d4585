# The words to remember; everything behind them is in CMakePresets.json and scripts/.
#
#     make run ARGS='--listen 127.0.0.1:9443 --no-demo'     make fuzz ARGS='10 json'     make test ARGS=flow
export ARGS
.PHONY: build dev-build run test lint scan coverage fuzz bench bench-reload deps clean

build:
	@scripts/deps.sh
	@scripts/build.sh release

dev-build:
	@scripts/deps.sh test
	@scripts/build.sh dev

run:
	@scripts/run.sh

test:
	@scripts/test.sh $(ARGS)

lint:
	@scripts/deps.sh test
	@scripts/lint.sh

scan:
	@scripts/scan.sh $(ARGS)

coverage:
	@scripts/coverage.sh $(ARGS)

fuzz:
	@scripts/fuzz.sh $(ARGS)

bench:
	@scripts/bench.sh $(ARGS)

bench-reload:
	@scripts/bench.sh reload box generations $(ARGS)

deps:
	@scripts/deps.sh test

clean:
	rm -rf build
