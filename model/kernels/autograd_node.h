#pragma once

#include <torch/csrc/autograd/function.h>

#include <memory>
#include <type_traits>
#include <utility>

namespace kessoku::model {

/// Nodes of autograd's graph count their owners themselves; in older LibTorch, shared pointers do.
template <typename Node>
constexpr bool kCountsItself = std::is_base_of_v<c10::intrusive_ptr_target, Node>;

template <typename Node, typename... Arguments>
auto make_node(Arguments&&... arguments) {
  if constexpr (kCountsItself<Node>) {
    return c10::make_intrusive<Node>(std::forward<Arguments>(arguments)...);
  } else {
    return std::shared_ptr<Node>(new Node(std::forward<Arguments>(arguments)...),
                                 [](Node* node) { deleteNode(node); });  // torch::autograd's
  }
}

/// One more owner of a node that has some.
template <typename Node>
auto owner_of(Node* node) {
  if constexpr (kCountsItself<Node>) {
    return c10::intrusive_ptr<torch::autograd::Node>::reclaim_copy(node);
  } else {
    return node->getptr();
  }
}

}  // namespace kessoku::model
