# till_layer(name [library of the layer below]): core/<name>/**.c as a static
# library. A layer without a source yet is an interface of the one below.
function(till_layer name)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS core/${name}/*.c)
    if(sources)
        add_library(till_${name} STATIC ${sources})
        set(visibility PUBLIC)
    else()
        add_library(till_${name} INTERFACE)
        set(visibility INTERFACE)
    endif()
    target_include_directories(till_${name} ${visibility} ${PROJECT_SOURCE_DIR}/core)
    target_link_libraries(till_${name} ${visibility} ${ARGN} till_packages)
endfunction()
