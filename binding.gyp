# For node-gyp and prebuildify only: the build is described in CMakeLists.txt.
{
  "targets": [
    {
      "target_name": "lateforge",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/lateforge.node"],
          "action": ["node", "native/tools/cmake.cjs", "--product", "<(PRODUCT_DIR)"]
        }
      ]
    }
  ]
}
