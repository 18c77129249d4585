# tests/fuzz/fuzz_<target>.c, each with LLVMFuzzerTestOneInput. With TILL_FUZZ
# they are libFuzzer programs; with TILL_TESTS the driver replays the corpus,
# so that what fuzzing once found stays found.
# Targets in Lua share tests/fuzz/support.
add_library(till_fuzz_support STATIC tests/fuzz/support/lua.c tests/fuzz/support/lua_text.c tests/core/support/box.c)
target_include_directories(till_fuzz_support PUBLIC tests/fuzz tests/core)
target_link_libraries(till_fuzz_support PUBLIC till_vm)

file(GLOB fuzz_sources CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
foreach(source IN LISTS fuzz_sources)
    get_filename_component(name ${source} NAME_WE)
    string(REGEX REPLACE "^fuzz_" "" target ${name})
    if(TILL_FUZZ)
        add_executable(${name} ${source})
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    else()
        add_executable(${name} ${source} tests/fuzz/driver.c)
        add_test(NAME corpus/${target} COMMAND ${name} tests/fuzz/corpus/${target}
            WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    endif()
    target_link_libraries(${name} PRIVATE till_fuzz_support till_serve)
endforeach()
add_dependencies(fuzz_box moontill-box)
