# The words to remember; everything behind them is in CMakePresets.json and scripts/.
.PHONY: build dev-build test lint fuzz bench deps run clean

build:
	@scripts/deps.sh
	@mkdir -p build && cmake --preset release >build/release.log 2>&1 || { cat build/release.log; exit 1; }
	@cmake --build --preset release

dev-build:
	@cmake --preset dev
	@cmake --build --preset dev

test:
	@scripts/test.sh

lint:
	@scripts/lint.sh

fuzz:
	@scripts/fuzz.sh

bench: build
	@scripts/bench.sh

deps:
	@scripts/deps.sh

run: build
	@scripts/run.sh

clean:
	rm -rf build
