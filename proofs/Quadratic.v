(* The loss of one row, e H e^T, and what it becomes when H = V diag(D) V^T with V upper triangular and
   ones on its diagonal. The Cholesky form H = R R^T, R upper triangular with positive diagonal, is the
   same thing with V_ij = R_ij / R_jj and D_j = R_jj^2; the form without square roots is rational, hence
   the one to reason with. *)

From Coq Require Import Reals Lra Lia Arith.
From Assay Require Import FiniteSums.
Open Scope R_scope.

Definition quadratic (n : nat) (H : nat -> nat -> R) (e : nat -> R) : R :=
  \sum_(i < n) \sum_(j < n) (e i * H i j * e j).

Definition symmetric (n : nat) (H : nat -> nat -> R) : Prop :=
  forall i j, (i < n)%nat -> (j < n)%nat -> H i j = H j i.

Definition positive_definite (n : nat) (H : nat -> nat -> R) : Prop :=
  forall e, (exists i, (i < n)%nat /\ e i <> 0) -> 0 < quadratic n H e.

(* H = V diag(D) V^T with V unit upper triangular. *)
Record factors (n : nat) (H V : nat -> nat -> R) (D : nat -> R) : Prop := {
  factors_unit : forall j, (j < n)%nat -> V j j = 1;
  factors_upper : forall i j, (j < i < n)%nat -> V i j = 0;
  factors_product : forall i j, (i < n)%nat -> (j < n)%nat -> H i j = \sum_(k < n) (V i k * D k * V j k) }.

(* H = R R^T with R upper triangular and a positive diagonal; called root here, since R is the reals. *)
Record cholesky (n : nat) (H root : nat -> nat -> R) : Prop := {
  cholesky_positive : forall j, (j < n)%nat -> 0 < root j j;
  cholesky_upper : forall i j, (j < i < n)%nat -> root i j = 0;
  cholesky_product : forall i j, (i < n)%nat -> (j < n)%nat -> H i j = \sum_(k < n) (root i k * root j k) }.

(* Rows of a layer: the loss is tr(E H E^T). *)
Definition product (n : nat) (A B : nat -> nat -> R) (i j : nat) : R := \sum_(k < n) (A i k * B k j).
Definition transpose (A : nat -> nat -> R) (i j : nat) : R := A j i.
Definition trace (n : nat) (A : nat -> nat -> R) : R := \sum_(i < n) A i i.
Definition layer_loss (rows n : nat) (H E : nat -> nat -> R) : R :=
  trace rows (product n (product n E H) (transpose E)).

Lemma layer_loss_by_rows : forall rows n H E,
  layer_loss rows n H E = \sum_(r < rows) quadratic n H (E r).
Proof.
  intros. apply sum_ext. intros r _. unfold product, transpose, quadratic.
  rewrite sum_exchange. apply sum_ext. intros j _. symmetry. apply sum_scale_right.
Qed.

Lemma quadratic_ext : forall n H G e f,
  (forall i j, (i < n)%nat -> (j < n)%nat -> H i j = G i j) ->
  (forall i, (i < n)%nat -> e i = f i) ->
  quadratic n H e = quadratic n G f.
Proof.
  intros n H G e f same_matrix same_vector. apply sum_ext; intros i ?. apply sum_ext; intros j ?.
  rewrite same_matrix, !same_vector by assumption. reflexivity.
Qed.

(* No shape of V is needed here: any product V diag(D) V^T is a weighted sum of squares. *)
Theorem quadratic_of_product : forall n (V : nat -> nat -> R) (D e : nat -> R),
  quadratic n (fun i j => \sum_(k < n) (V i k * D k * V j k)) e
  = \sum_(k < n) (D k * (\sum_(i < n) (e i * V i k)) ^ 2).
Proof.
  intros n V D e. unfold quadratic.
  transitivity (\sum_(i < n) \sum_(k < n) \sum_(j < n) (D k * ((e i * V i k) * (e j * V j k)))).
  - apply sum_ext; intros i _. rewrite sum_exchange. apply sum_ext; intros j _.
    rewrite <- sum_scale, <- sum_scale_right. apply sum_ext; intros k _. ring.
  - rewrite sum_exchange. apply sum_ext; intros k _. simpl pow.
    rewrite Rmult_1_r, sum_product, <- sum_scale. apply sum_ext; intros i _. apply sum_scale.
Qed.

Lemma quadratic_of_factors : forall n H V D e,
  factors n H V D -> quadratic n H e = \sum_(k < n) (D k * (\sum_(i < n) (e i * V i k)) ^ 2).
Proof.
  intros n H V D e F. rewrite <- quadratic_of_product. apply quadratic_ext; [|reflexivity].
  apply (factors_product _ _ _ _ F).
Qed.

Lemma factors_symmetric : forall n H V D, factors n H V D -> symmetric n H.
Proof.
  intros n H V D F i j ? ?. rewrite !(factors_product n H V D F) by assumption. apply sum_ext; intros; ring.
Qed.

Lemma factors_of_cholesky : forall n H root,
  cholesky n H root -> factors n H (fun i j => root i j / root j j) (fun j => root j j ^ 2).
Proof.
  intros n H root [positive upper same]. split.
  - intros j ?. field. apply Rgt_not_eq, positive; assumption.
  - intros i j ?. rewrite upper by assumption. unfold Rdiv. ring.
  - intros i j ? ?. rewrite same by assumption. apply sum_ext; intros k ?. field.
    apply Rgt_not_eq, positive; assumption.
Qed.
